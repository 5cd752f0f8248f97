//! The XDP program, and the tables it reads. It is the `kernel` datapath, and the first half of the
//! `af-xdp` one.

use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, XskMap};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use log::Log;
use proxydhcp_common::counters::{Counts, QUEUES};
use proxydhcp_common::source::Seed;

use crate::datapath::activity::{self, Memory};
use crate::datapath::buckets;

mod attach;
mod counters;
mod deadline;
mod extack;
mod left;
mod pin;
pub mod pins;
mod refusal;
mod remedy;
mod renewal;
mod seed;
mod tables;

pub use attach::{Attachment, Refused};
use counters::CounterMap;
pub use deadline::Deadline;
pub use left::Left;
use pins::{ACTIVITY, Pins};
pub use renewal::Renewal;
use tables::Banks;
pub use tables::KernelTables;

/// The compiled `proxydhcp-ebpf`, made by `cargo xtask build-ebpf`.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/proxydhcp.bpf.o"));

/// What the program does with the requests it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It answers them.
    Answer,
    /// It redirects them to the AF_XDP socket of their queue.
    Redirect,
}

impl Duty {
    /// The name of the program in the object.
    const fn program(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Redirect => "redirect",
        }
    }
}

/// The program, loaded once for all interfaces, with the tables and counters that they share.
/// Dropping it frees all that, unless it is attached or pinned.
pub struct Program {
    ebpf: Ebpf,
    duty: Duty,
    /// The kernel's number for the program.
    id: u32,
    banks: Banks,
    has_nodes: bool,
    /// Whether the program and its maps are pinned, for a successor and for inspection.
    is_shown: bool,
    log: EbpfLogger<&'static dyn Log>,
}

impl Program {
    /// Loads the program with `tables`, without attaching it, and with room for the records of
    /// `capacity` nodes. With `pins`, it continues with the maps of [`pins::ADOPTED`] that are pinned
    /// there; one that redirects, whose counters end with its sockets, with the nodes' records alone.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the program or its maps.
    pub fn load(
        duty: Duty,
        tables: &KernelTables,
        capacity: u32,
        pins: Option<&Pins>,
    ) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        let adopts_all = pins.filter(|_| duty == Duty::Answer);
        let seed = seed::adopted(adopts_all).unwrap_or_else(buckets::seed);
        let Seed(numbers) = &seed;
        loader.override_global("SEED", numbers, true);
        loader.override_global("OTHERS", &capacity, true);
        loader.map_max_entries(ACTIVITY, activity::records(capacity));
        if duty == Duty::Answer {
            // There are no sockets.
            loader.map_max_entries("SOCKETS", 1);
        }
        if let Some(pins) = pins {
            let adopts = |map: &&str| duty == Duty::Answer || *map == ACTIVITY;
            for map in pins::ADOPTED.into_iter().filter(adopts) {
                loader.map_pin_path(map, pins.folder().join(map));
            }
        }
        let mut ebpf = loader.load(OBJECT).map_err(refusal::of_object)?;
        let log = EbpfLogger::init(&mut ebpf).context("cannot read the XDP program's log")?;
        let mut program = Self {
            ebpf,
            duty,
            id: 0,
            banks: Banks::default(),
            has_nodes: true,
            is_shown: false,
            log,
        };
        program.xdp()?.load().map_err(refusal::of_program)?;
        program.id = program.loaded()?.info()?.id();
        // Seed and tables are in place before the first frame comes.
        seed::leave(program.map("LIMITS")?, seed)?;
        program.install(tables)?;
        program.deadline()?.set_first();
        Ok(program)
    }

    /// Makes `socket` receive the requests of `queue` of an interface that the program
    /// [counts for](Self::count_for).
    ///
    /// # Errors
    ///
    /// If the kernel refuses the socket, or the queue number is too large for the map.
    pub fn set_socket(&mut self, interface: u32, queue: u32, socket: impl AsRawFd) -> Result<()> {
        ensure!(
            queue < QUEUES,
            "queue {queue} cannot be served; {QUEUES} are the most"
        );
        let place = CounterMap::of(&self.ebpf)?.place(interface)?;
        let place = place.context("the program does not count for this interface")?;
        let mut sockets = XskMap::try_from(self.map("SOCKETS")?)?;
        sockets
            .set(place * QUEUES + queue, socket, 0)
            .with_context(|| format!("cannot serve queue {queue}"))
    }

    /// Puts a generation's tables into service on all interfaces, in one step: a request sees either
    /// the old ones or these.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to replace a map. What was in service stays.
    pub fn install(&mut self, tables: &KernelTables) -> Result<()> {
        let banks = &mut self.banks;
        banks.fill(map(&mut self.ebpf, "TEMPLATES")?, tables)?;
        banks.serve(map(&mut self.ebpf, "NODES")?, tables)?;
        self.has_nodes = tables.has_nodes();
        Ok(())
    }

    /// Until when the program answers: for ever, unless it has adopted the deadline of a previous
    /// one.
    ///
    /// # Errors
    ///
    /// If the deadline's memory cannot be reached.
    pub fn deadline(&mut self) -> Result<Deadline> {
        match self.map(deadline::MAP)? {
            Map::Array(map) => Deadline::of(map),
            _ => anyhow::bail!("the deadline is no array"),
        }
    }

    /// The memory of the nodes' records.
    ///
    /// # Errors
    ///
    /// If it cannot be reached.
    pub(crate) fn activity(&mut self) -> Result<Memory> {
        match self.map(ACTIVITY)? {
            Map::Array(map) => Memory::of_map(map),
            _ => anyhow::bail!("the nodes' records are no array"),
        }
    }

    /// The requests on this interface by clients that are no node that were not noted, because there
    /// were too many.
    ///
    /// # Errors
    ///
    /// If it does not count for the interface, or the kernel does not return the counters.
    pub(crate) fn unnoted(&self, interface: u32) -> Result<u64> {
        CounterMap::of(&self.ebpf)?.unnoted(interface)
    }

    /// The kernel's number for the program.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Counts for this interface as well, from zero, or from the previous counts if it `goes_on`.
    ///
    /// # Errors
    ///
    /// If there are too many interfaces, or the kernel refuses to change the counters.
    pub fn count_for(&mut self, interface: u32, goes_on: bool) -> Result<()> {
        CounterMap::of_mut(&mut self.ebpf)?.give_place(interface, goes_on)
    }

    /// Stops counting for all interfaces but these.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to change the counters.
    pub fn count_for_only(&mut self, interfaces: &[u32]) -> Result<()> {
        CounterMap::of_mut(&mut self.ebpf)?.keep(interfaces)
    }

    /// What the program has counted on this interface, on all CPUs.
    ///
    /// # Errors
    ///
    /// If it does not count for the interface, or the kernel does not return the counters.
    pub fn counts(&self, interface: u32) -> Result<Counts> {
        CounterMap::of(&self.ebpf)?.counts(interface)
    }

    /// Runs the program on a frame, as if it came from interface 1. Returns its action (`xdp_action`
    /// of `linux/bpf.h`), the frame as it left it, and how long it took.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the run, as it does for frames of less than 14 bytes.
    pub fn try_on(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>, Duration)> {
        let mut made = vec![0; frame.len() + 1024];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut made);
        let run = self.xdp()?.test_run(options)?;
        made.truncate(run.data_size_out.try_into()?);
        Ok((run.return_value, made, run.duration))
    }

    /// The loaded program, for running or inspecting it alone.
    ///
    /// # Errors
    ///
    /// If the object does not contain the program.
    pub fn loaded(&self) -> Result<&Xdp> {
        let program = self.ebpf.program(self.duty.program());
        Ok(program
            .context("the object has no such program")?
            .try_into()?)
    }

    /// Forwards what the program has logged to the daemon's log.
    pub fn forward_log(&mut self) {
        self.log.flush();
    }

    fn xdp(&mut self) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(self.duty.program());
        Ok(program
            .context("the object has no such program")?
            .try_into()?)
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        map(&mut self.ebpf, name)
    }
}

fn map<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Map> {
    ebpf.map_mut(name)
        .with_context(|| format!("the object has no map {name}"))
}
