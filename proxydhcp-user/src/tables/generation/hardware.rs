//! Fills the buckets of hardware addresses: see [`proxydhcp_common::nodes::HardwareLine`].
//!
//! As with addresses, seeds are tried, and the number of doublings is bounded.

use std::collections::HashMap;

use proxydhcp_common::hash::hardware_hash;
use proxydhcp_common::nodes::{
    HARDWARE_SLOTS, Hardware, HardwareLine, Header, Line, PROBES, Target, flags,
};

use super::fill::{DOUBLINGS, Entered, SEEDS, enter};
use super::flag;
use crate::nodes::hardware::Id;
use crate::tables::followed::Followed;
use crate::tables::table::Table;

/// The numbers of nodes within the targets: see [`Target::numbered`].
pub(super) struct Numbers<'f> {
    winpe_bits: u8,
    /// The nodes that are followed, if they are numbered for it.
    followed: Option<&'f Followed>,
    /// The numbers of the other records that have a hardware address.
    of_records: HashMap<u32, u32>,
}

impl<'f> Numbers<'f> {
    /// A node that is followed has its number for that. If there are so many WinPEs that there is no
    /// room for both numbers, none is, and nodes with hardware addresses are numbered among those of
    /// their WinPE.
    pub(super) fn of(table: &Table, followed: &'f Followed) -> Self {
        // There are at most as many WinPEs as records, which are few enough.
        let bits = usize::BITS - table.winpes().len().saturating_sub(1).leading_zeros();
        let winpe_bits = u8::try_from(bits).unwrap_or(Target::BITS);
        let room = 1_u32 << Target::BITS.saturating_sub(winpe_bits);
        let follows = followed.highest() > Target::ANONYMOUS && followed.highest() < room;
        let mut numbers = Self {
            winpe_bits,
            followed: follows.then_some(followed),
            of_records: HashMap::new(),
        };
        if !follows && table.hardware().len() == 0 {
            numbers.winpe_bits = Target::BITS;
            return numbers;
        }
        let first = if follows {
            followed.end().max(Followed::FIRST)
        } else {
            Followed::FIRST
        };
        let mut next: HashMap<usize, u32> = HashMap::new();
        for known in table.hardware() {
            let is_numbered = numbers.number(known.record).is_some();
            if let Some(winpe) = known.winpe.filter(|_| !is_numbered) {
                // A number that leads to no record of activity must be the node's own all the same.
                let of = if follows { 0 } else { winpe };
                let next = next.entry(of).or_insert(first);
                numbers.of_records.insert(known.record, *next);
                *next += 1;
            }
        }
        numbers
    }

    /// Whether what nodes do is noted.
    pub(super) fn follows(&self) -> bool {
        self.followed.is_some()
    }

    fn number(&self, record: u32) -> Option<u32> {
        let followed = self.followed.and_then(|it| it.number(record));
        followed.or_else(|| self.of_records.get(&record).copied())
    }

    /// The target of the node with this record, whose WinPE is `target`. So many nodes may have hardware
    /// addresses that the numbers do not suffice; such a node has none.
    pub(super) fn address(&self, target: Target, record: u32) -> Target {
        if !self.follows() && self.of_records.is_empty() {
            return target;
        }
        let number = self.number(record);
        let numbered = number.and_then(|number| target.numbered(number, self.winpe_bits));
        let anonymous = || target.numbered(Target::ANONYMOUS, self.winpe_bits);
        numbered.or_else(anonymous).unwrap_or(Target::DENIED)
    }

    /// The target of a hardware address of this record.
    fn hardware(&self, target: Target, record: u32) -> Option<Target> {
        target.numbered(self.number(record)?, self.winpe_bits)
    }
}

/// The buckets of hardware addresses.
#[derive(Debug, Default)]
pub(super) struct FilledHardware {
    lines: Vec<Line>,
    bits: u8,
    seed: u64,
    has_uuids: bool,
    winpe_bits: u8,
    /// Those without a place.
    pub(super) left_out: Vec<Id>,
}

impl FilledHardware {
    /// Says in the table's header what there is.
    pub(super) fn describe(&self, header: &mut Header) {
        header.flags |= flag(self.has_uuids, flags::UUIDS);
        header.winpe_bits = self.winpe_bits;
        header.hardware_bits = self.bits;
        header.hardware_seed = self.seed;
    }

    /// Puts the buckets behind those of addresses.
    pub(super) fn append_to(self, lines: &mut Vec<Line>) -> Vec<Id> {
        lines.extend(self.lines);
        self.left_out
    }
}

/// Fills the buckets, with seeds from `number`; `node` is the target of a node by its WinPE.
pub(super) fn fill(
    table: &Table,
    numbers: &Numbers<'_>,
    node: impl Fn(usize) -> Target,
    mut number: impl FnMut() -> u64,
) -> FilledHardware {
    let mut left_out = Vec::new();
    let mut entries = Vec::new();
    for known in table.hardware() {
        let target = match known.winpe {
            Some(winpe) => numbers.hardware(node(winpe), known.record),
            None => Some(Target::DENIED),
        };
        match target {
            Some(target) => entries.extend(known.id.sent().map(|sent| (known.id, sent, target))),
            None => left_out.push(known.id),
        }
    }
    let mut filled = FilledHardware {
        winpe_bits: numbers.winpe_bits,
        ..FilledHardware::default()
    };
    if entries.is_empty() {
        filled.left_out = left_out;
        return filled;
    }
    // A quarter full at most, so that few have to be sought in the next bucket.
    let least = (entries.len() * 4 / HARDWARE_SLOTS)
        .next_power_of_two()
        .max(2);
    let least = u8::try_from(least.trailing_zeros()).unwrap_or(u8::MAX);
    let few = entries.len() / 64 + HARDWARE_SLOTS;
    let sizes = (0..=DOUBLINGS).flat_map(|doublings| [doublings; SEEDS]);
    let last = DOUBLINGS * SEEDS + SEEDS - 1;
    for (attempt, doublings) in sizes.enumerate() {
        let bits = least.saturating_add(u8::try_from(doublings).unwrap_or_default());
        let mut buckets = Buckets::new(bits, number());
        let displaced: Vec<_> = entries
            .iter()
            .filter(|(_, sent, target)| !buckets.place(sent, *target))
            .map(|(id, ..)| *id)
            .collect();
        if (displaced.is_empty() && buckets.displaced <= few) || attempt == last {
            left_out.extend(displaced);
            filled.lines = buckets.lines.into_iter().map(HardwareLine::line).collect();
            filled.bits = bits;
            filled.seed = buckets.seed;
            break;
        }
    }
    filled.has_uuids = entries
        .iter()
        .any(|(_, sent, _)| matches!(sent, Hardware::Uuid(_)));
    left_out.dedup();
    filled.left_out = left_out;
    filled
}

/// Buckets that are being filled.
struct Buckets {
    lines: Vec<HardwareLine>,
    bits: u8,
    seed: u64,
    /// The number of keys that are not in their own bucket but in the next.
    displaced: usize,
}

impl Buckets {
    fn new(bits: u8, number: u64) -> Self {
        Self {
            lines: vec![HardwareLine::default(); 1 << bits],
            bits,
            seed: number | 1,
            displaced: 0,
        }
    }

    /// Enters a key, unless its buckets are full; returns whether it is there.
    fn place(&mut self, hardware: &Hardware, target: Target) -> bool {
        let key = hardware.key(self.seed);
        let mask = self.lines.len() - 1;
        for probe in 0..PROBES {
            let bucket =
                hardware_hash(key, self.seed, self.bits).wrapping_add(probe) as usize & mask;
            let Some(line) = self.lines.get_mut(bucket) else {
                return false;
            };
            match enter(&mut line.keys, &mut line.targets, key, target) {
                Entered::Now => {
                    self.displaced += probe as usize;
                    return true;
                }
                Entered::Before => return true,
                Entered::Nowhere => {}
            }
        }
        false
    }
}
