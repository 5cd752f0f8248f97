//! Fills a node table: see [`proxydhcp_common::nodes`].
//!
//! It depends on the table's seed, a secret, which addresses collide. If too many do, another seed is
//! tried, and after some seeds a larger table. The number of doublings is bounded, because addresses
//! come from files and the DNS, and no answer of the DNS may use up all memory.

use std::net::Ipv4Addr;

use proxydhcp_common::hash::hash;
use proxydhcp_common::nodes::{Header, Line, PROBES, SLOTS, Target};

/// The number of times that the table is doubled at most.
pub(super) const DOUBLINGS: usize = 3;

/// The number of seeds that are tried at each size.
pub(super) const SEEDS: usize = 4;

/// A node table.
#[derive(Debug)]
pub(super) struct Filled {
    /// Header first.
    pub(super) lines: Vec<Line>,
    /// The addresses without a place.
    pub(super) left_out: Vec<Ipv4Addr>,
}

/// Fills a node table, with seeds from `number`. An address that occurs twice keeps its first target.
pub(super) fn fill<E: Iterator<Item = (Ipv4Addr, Target)>>(
    header: Header,
    entries: impl Fn() -> E,
    mut number: impl FnMut() -> u64,
) -> Filled {
    let count = entries().count();
    // Half full at most.
    let buckets = (count * 2 / SLOTS).next_power_of_two();
    // Searching the next bucket takes time, so few addresses may be displaced to there.
    let few = count / 64 + SLOTS;
    let mut table = |doublings| Table::new(header, buckets << doublings, number());
    for doublings in (0..=DOUBLINGS).flat_map(|doublings| [doublings; SEEDS]) {
        let mut table = table(doublings);
        let fits = entries().all(|(address, target)| table.place(address, target));
        if fits && table.displaced <= few {
            return Filled {
                lines: table.lines,
                left_out: Vec::new(),
            };
        }
    }
    let mut table = table(DOUBLINGS);
    let left_out = entries().filter(|&(address, target)| !table.place(address, target));
    let left_out = left_out.map(|(address, _)| address).collect();
    Filled {
        lines: table.lines,
        left_out,
    }
}

/// A table that is being filled.
struct Table {
    lines: Vec<Line>,
    mask: u32,
    seed: u64,
    /// The number of entries that are not in their own bucket but in the next.
    displaced: usize,
}

impl Table {
    /// An empty table with `buckets` buckets, a power of two.
    fn new(header: Header, buckets: usize, number: u64) -> Self {
        // There are fewer addresses than this.
        let mask = u32::try_from(buckets - 1).unwrap_or(u32::MAX);
        let seed = number | 1;
        let mut lines = vec![Line::default(); 1 + buckets];
        if let Some(first) = lines.first_mut() {
            *first = Header {
                mask,
                seed,
                ..header
            }
            .line();
        }
        Self {
            lines,
            mask,
            seed,
            displaced: 0,
        }
    }

    /// Enters an address, unless its buckets are full; returns whether it is in the table.
    fn place(&mut self, address: Ipv4Addr, target: Target) -> bool {
        let key = u32::from_ne_bytes(address.octets());
        for probe in 0..PROBES {
            let bucket = hash(address.octets(), self.seed).wrapping_add(probe) & self.mask;
            let Some(line) = self.lines.get_mut(1 + bucket as usize) else {
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

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It is in the bucket.
    Now,
    /// One with the same key was there before, and stays.
    Before,
    /// The bucket is full.
    Nowhere,
}

/// Enters a key and its target at the first free place of a bucket.
pub(super) fn enter<K: Copy + PartialEq>(
    keys: &mut [K],
    targets: &mut [u32],
    key: K,
    target: Target,
) -> Entered {
    for (at, to) in keys.iter_mut().zip(targets) {
        if *to == 0 {
            (*at, *to) = (key, target.stored());
            return Entered::Now;
        }
        if *at == key {
            return Entered::Before;
        }
    }
    Entered::Nowhere
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use proxydhcp_common::nodes::Nodes;
    use zerocopy::FromZeros;

    use super::*;
    use crate::sys::random;

    fn filled(addresses: &[Ipv4Addr], number: impl FnMut() -> u64) -> Filled {
        let node = |&address: &Ipv4Addr| (address, Target::node(0, 0));
        let header = Header::new_zeroed();
        fill(header, || addresses.iter().map(node), number)
    }

    fn is_node(lines: &[Line], address: Ipv4Addr) -> bool {
        let nodes = Nodes::open(lines).unwrap();
        nodes.client(address.octets()).node().is_some()
    }

    /// The table takes at most 64 bytes for two addresses, and has all of them.
    fn check(what: &str, addresses: &[Ipv4Addr]) {
        let Filled { lines, left_out } = filled(addresses, random::number);
        assert!(left_out.is_empty(), "{what}: {left_out:?}");
        let most = 1 + addresses.len().next_power_of_two().max(8) / 2;
        assert!(lines.len() <= most, "{what}: {} lines", lines.len());
        assert!(addresses.iter().all(|it| is_node(&lines, *it)), "{what}");
    }

    #[test]
    fn addresses_any_number_apart_take_no_more_room_than_others() {
        for apart in (1..64).chain([250, 256, 257, 1024, 1597, 4096, 65_536, 65_537, 4_000_001]) {
            for count in [10, 1000, 3000] {
                let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
                let address = |n: u32| Ipv4Addr::from(first.wrapping_add(n.wrapping_mul(apart)));
                let addresses: Vec<_> = (0..count).map(address).collect();
                check(&format!("{count}, {apart} apart"), &addresses);
            }
        }
    }

    /// Addresses that share a bucket of up to 2^`bits` by the multiplier that all tables once had.
    fn colliding(count: usize, bits: u32) -> Vec<Ipv4Addr> {
        let golden = 0x9e37_79b9_7f4a_7c15;
        let mask = (1 << bits) - 1;
        let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
        let wanted = hash(first.to_be_bytes(), golden) & mask;
        let all = (first..).filter(|it| hash(it.to_be_bytes(), golden) & mask == wanted);
        all.take(count).map(Ipv4Addr::from).collect()
    }

    #[test]
    fn addresses_chosen_to_collide_do_not() {
        let mut addresses = colliding(26, 20);
        check("26 that collide", &addresses);
        addresses.extend((0..1000).map(|n| Ipv4Addr::from(0xac10_0000 + n)));
        check("beside a thousand others", &addresses);
    }

    #[test]
    fn addresses_without_a_place_are_left_out_after_three_doublings() {
        // By this seed, the number of the bucket is 0 for all addresses.
        let addresses: Vec<_> = (1..=100).map(Ipv4Addr::from).collect();
        let mut seeds = 0;
        let Filled { lines, left_out } = filled(&addresses, || {
            seeds += 1;
            1
        });
        assert_eq!(left_out, addresses[16..]);
        assert_eq!((lines.len(), seeds), (1 + 32 * 8, 4 * 4 + 1));
        assert!(addresses[..16].iter().all(|it| is_node(&lines, *it)));
        assert!(!addresses[16..].iter().any(|it| is_node(&lines, *it)));
    }

    proptest! {
        #[test]
        fn finds_what_was_filled_in_and_nothing_else(
            entries in proptest::collection::hash_map(any::<u32>(), 0..1000u32, 0..300),
            others in proptest::collection::vec(any::<u32>(), 50),
            bits in 0..8_u32,
        ) {
            let entries: HashMap<_, _> = entries;
            let all = || entries.iter().map(|(a, w)| (Ipv4Addr::from(*a), Target::node(*w, 1)));
            // Seeds of few bits, so that some addresses are left out.
            let number = || random::number() & (u64::MAX >> (bits * 8));
            let Filled { lines, left_out } = fill(Header::new_zeroed(), all, number);
            let node = |address: u32| {
                let nodes = Nodes::open(&lines[..]).unwrap();
                nodes.client(address.to_be_bytes()).node().map(|node| node.winpe(Target::BITS))
            };
            for (address, winpe) in &entries {
                let served = !left_out.contains(&Ipv4Addr::from(*address));
                prop_assert_eq!(node(*address), served.then_some(*winpe));
            }
            for other in others.iter().filter(|other| !entries.contains_key(other)) {
                prop_assert_eq!(node(*other), None);
            }
        }
    }
}
