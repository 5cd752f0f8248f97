//! The source of a request, as the rate limit tells sources apart: its IP address, the MAC address
//! that the frame came from, and the client's own MAC address in `chaddr`.
//!
//! Each of them can be forged. But requests with a node's IP address and another MAC address are of
//! another source. Behind a router, all frames come from the router's MAC address; there, `chaddr`
//! distinguishes a node from forgers that do not know its MAC address.

use crate::frame::Frame;
use crate::headers::{IP_LEN, Packet, UDP_LEN};
use crate::limit::LINES;
#[cfg(any(doc, test))]
use crate::limit::are_siblings;
use crate::wire::Address;

/// The source of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The packet's source address.
    pub address: Address,
    /// The frame's source address.
    pub mac: [u8; 6],
    /// The first six bytes of `chaddr`: the length of an Ethernet address.
    pub chaddr: [u8; 6],
}

impl Source {
    /// The source of a packet without IP options. Of a frame that is too short, which will be refused,
    /// the MAC addresses are zero.
    #[inline(always)]
    pub fn of<F: Frame>(frame: &F, packet: &Packet) -> Self {
        const MAC: usize = 6;
        const CHADDR: usize = IP_LEN + UDP_LEN + 28;
        let (mac, chaddr) = (frame.at(MAC), frame.at(packet.ip + CHADDR));
        Self {
            address: packet.source,
            mac: mac.copied().unwrap_or_default(),
            chaddr: chaddr.copied().unwrap_or_default(),
        }
    }
}

/// A secret that the places of buckets depend on: without it, nobody can choose sources that share a
/// bucket or a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u64; 4]);

/// The place of a source's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the line, below [`LINES`].
    pub line: u32,
    /// The key, which distinguishes it from the others in the line: see [`are_siblings`].
    pub key: u32,
}

/// The number of lines that hold the buckets of one IP address and one MAC address.
pub const SPREAD: u32 = 1 << SPREAD_BITS;
const SPREAD_BITS: u32 = 5;

impl Seed {
    /// The place of the bucket of `source`.
    ///
    /// This is pair-multiply-shift hashing (Thorup, "High Speed Hashing for Integers and Strings",
    /// section 3.5): sources that were chosen without knowledge of the seed share a bucket no more
    /// often than by chance. It takes two multiplications, which do not wait for each other.
    #[inline(always)]
    #[must_use]
    pub const fn place(&self, source: &Source) -> Place {
        let [a, b, c, d] = self.0;
        let (mac, client_mac) = (words(source.mac), words(source.chaddr));
        let address = u32::from_ne_bytes(source.address) as u64;
        let siblings = a.wrapping_add(mac.1).wrapping_mul(b.wrapping_add(address));
        let client = c
            .wrapping_add(mac.0 | client_mac.0 << 16)
            .wrapping_mul(d.wrapping_add(client_mac.1));
        let line = high::<0, LINE_BITS>(siblings) + high::<0, SPREAD_BITS>(client);
        Place {
            line: line & (LINES - 1),
            key: high::<LINE_BITS, 12>(siblings) << 20 | high::<SPREAD_BITS, 20>(client),
        }
    }
}

const LINE_BITS: u32 = LINES.trailing_zeros();

/// The first two bytes, and the other four.
#[inline(always)]
const fn words([a, b, c, d, e, f]: [u8; 6]) -> (u64, u64) {
    let first = u16::from_ne_bytes([a, b]) as u64;
    (first, u32::from_ne_bytes([c, d, e, f]) as u64)
}

/// The `LEN` bits below the topmost `SKIP`: the upper bits depend on the whole input.
#[expect(clippy::cast_possible_truncation, reason = "32 bits at most")]
#[inline(always)]
const fn high<const SKIP: u32, const LEN: u32>(product: u64) -> u32 {
    (product << SKIP >> (64 - LEN)) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::vec::Vec;

    use super::*;
    use crate::frame::Slice;

    /// Any numbers will do.
    const SEED: Seed = Seed([
        0x9e37_79b9_7f4a_7c15,
        0xc2b2_ae3d_27d4_eb4f,
        0x1656_67b1_9e37_79f9,
        0x2545_f491_4f6c_dd1d,
    ]);

    fn source(number: u32) -> Source {
        let [a, b, c, d] = number.to_be_bytes();
        Source {
            address: [10, b, c, d],
            mac: [2, 0, a, b, c, d],
            chaddr: [2, 0, a, b, c, d],
        }
    }

    fn places(sources: impl Iterator<Item = Source>) -> Vec<Place> {
        sources.map(|source| SEED.place(&source)).collect()
    }

    #[test]
    fn sources_share_no_bucket() {
        let [address, mac, chaddr] = [0, 1, 2].map(|part| {
            places((0..100_000).map(|number| {
                let (mut changed, other) = (source(7), source(number));
                match part {
                    0 => changed.address = other.address,
                    1 => changed.mac = other.mac,
                    _ => changed.chaddr = other.chaddr,
                }
                changed
            }))
        });
        for buckets in [address, mac, chaddr] {
            let places: HashSet<_> = buckets.iter().map(|it| (it.line, it.key)).collect();
            assert_eq!(places.len(), 100_000);
        }
    }

    #[test]
    fn nodes_and_strangers_spread_over_all_lines() {
        let nodes = places((0..65_536).map(source));
        let strangers = places((0..65_536).map(|number| Source {
            mac: source(number).mac,
            ..source(7)
        }));
        for buckets in [nodes, strangers] {
            let mut lines: HashMap<u32, u32> = HashMap::new();
            for bucket in buckets {
                *lines.entry(bucket.line).or_default() += 1;
            }
            assert!(lines.keys().all(|line| *line < LINES));
            assert!(lines.len() > 7500, "{}", lines.len());
            assert!(lines.values().all(|count| *count < 40));
        }
    }

    #[test]
    fn sources_that_differ_in_chaddr_are_siblings_in_a_few_lines() {
        let siblings = places((0..10_000).map(|number| Source {
            chaddr: source(number).chaddr,
            ..source(7)
        }));
        let lines: HashSet<_> = siblings.iter().map(|it| it.line).collect();
        assert_eq!(lines.len(), 32);
        assert!(
            siblings
                .iter()
                .all(|it| are_siblings(it.key, siblings[0].key))
        );
        let strangers = places((8..1008).map(source));
        let alike = |it: &&Place| are_siblings(it.key, siblings[0].key);
        assert!(strangers.iter().filter(alike).count() < 5);
    }

    #[test]
    fn it_is_found_in_a_frame() {
        let mut frame = [0; 300];
        for (at, byte) in frame.iter_mut().zip(0_u8..=255) {
            *at = byte;
        }
        let packet = |ip| Packet {
            ip,
            ip_len: IP_LEN,
            to_group: false,
            source: [10, 0, 0, 1],
            destination: [10, 0, 0, 2],
        };
        let slice = Slice::new(&mut frame, 90).unwrap();
        let found = Source::of(&slice, &packet(18));
        assert_eq!(found.address, [10, 0, 0, 1]);
        assert_eq!(found.mac, [6, 7, 8, 9, 10, 11]);
        assert_eq!(found.chaddr, [74, 75, 76, 77, 78, 79]);
        assert_eq!(Source::of(&slice, &packet(40)).chaddr, [0; 6]);
    }
}
