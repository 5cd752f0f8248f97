//! What the program counts, by interface: see [`Counted`].

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use proxydhcp_common::counters::{COUNTERS, Counted, Counts, PLACES, places};

use super::pins::Pins;

/// A [`Counted`] as it lies in memory: the interface's number, two numbers of the clock, the counts,
/// and two numbers about strangers, of which the last is the requests that were not noted.
type Place = [u64; COUNTS_AT + COUNTERS + 2];

/// The counts' place.
const COUNTS_AT: usize = 3;

const _: () = assert!(size_of::<Place>() == size_of::<Counted>());

/// The map, of this daemon's program or of one before.
pub(super) struct CounterMap<M>(PerCpuArray<M, Place>);

impl<'m> CounterMap<&'m MapData> {
    pub(super) fn of(ebpf: &'m Ebpf) -> Result<Self> {
        let map = ebpf.map("COUNTERS").context(MISSING)?;
        Ok(Self(PerCpuArray::try_from(map)?))
    }
}

impl<'m> CounterMap<&'m mut MapData> {
    pub(super) fn of_mut(ebpf: &'m mut Ebpf) -> Result<Self> {
        let map = ebpf.map_mut("COUNTERS").context(MISSING)?;
        Ok(Self(PerCpuArray::try_from(map)?))
    }
}

const MISSING: &str = "the object has no map COUNTERS";

impl CounterMap<MapData> {
    /// That of the program before, which is pinned.
    pub(super) fn pinned(pins: &Pins) -> Result<Self> {
        let map = MapData::from_pin(pins.folder().join("COUNTERS"))?;
        Ok(Self(PerCpuArray::try_from(Map::PerCpuArray(map))?))
    }
}

impl<M: std::borrow::Borrow<MapData>> CounterMap<M> {
    /// What was counted on this interface, on all CPUs.
    pub(super) fn counts(&self, interface: u32) -> Result<Counts> {
        let place = self.place(interface)?;
        let place = place.context("the program does not count for this interface")?;
        let mut sum = [0; COUNTERS];
        for cpu in self.0.get(&place, 0)?.iter() {
            for (sum, count) in sum.iter_mut().zip(cpu.iter().skip(COUNTS_AT)) {
                *sum += count;
            }
        }
        Ok(sum)
    }

    /// The requests of clients that are no node that were not noted, because there were too many.
    pub(super) fn unnoted(&self, interface: u32) -> Result<u64> {
        let place = self.place(interface)?;
        let place = place.context("the program does not count for this interface")?;
        let cpus = self.0.get(&place, 0)?;
        Ok(cpus.iter().filter_map(|cpu| cpu.last()).sum())
    }

    /// The number of the interface's place, if it has one.
    pub(super) fn place(&self, interface: u32) -> Result<Option<u32>> {
        for place in places(interface) {
            if self.owner(place)? == u64::from(interface) {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// The number of the interface whose place it is, or 0.
    fn owner(&self, place: u32) -> Result<u64> {
        let values = self.0.get(&place, 0)?;
        Ok(values
            .first()
            .and_then(|of_cpu| of_cpu.first())
            .copied()
            .unwrap_or(0))
    }
}

impl<M: std::borrow::BorrowMut<MapData>> CounterMap<M> {
    /// Gives the interface a place; where it has one and `goes_on`, with what was counted there.
    /// Nobody counts in another's place meanwhile: it is none of the program's yet.
    pub(super) fn give_place(&mut self, interface: u32, goes_on: bool) -> Result<()> {
        let mut place = self.place(interface)?;
        if place.is_some() && goes_on {
            return Ok(());
        }
        for free in places(interface) {
            if place.is_none() && self.owner(free)? == 0 {
                place = Some(free);
            }
        }
        match place {
            Some(place) => self.set(place, interface),
            None => bail!("too many interfaces are served by XDP to count for one more"),
        }
    }

    /// Takes the places of all interfaces but these.
    pub(super) fn keep(&mut self, interfaces: &[u32]) -> Result<()> {
        for place in 0..PLACES {
            let owner = self.owner(place)?;
            if owner != 0 && !interfaces.iter().any(|&kept| u64::from(kept) == owner) {
                self.set(place, 0)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, place: u32, interface: u32) -> Result<()> {
        let mut value: Place = [0; _];
        if let Some(owner) = value.first_mut() {
            *owner = interface.into();
        }
        let cpus = nr_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))?;
        self.0
            .set(place, PerCpuValues::try_from(vec![value; cpus])?, 0)?;
        Ok(())
    }
}
