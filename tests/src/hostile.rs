//! Hostile packets, of the kinds that a flood against the daemon might consist of.

use std::net::Ipv4Addr;

use crate::architecture::UEFI_X64;
use crate::{Checksum, RequestFrame};

/// A kind of hostile packet. All kinds go to port 4011.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// Sound requests of forged sources, which are no nodes.
    Strangers,
    /// Packets that are not requests, or not requests of a PXE client.
    Refused,
    /// A node's requests with a wrong UDP checksum, which the XDP program leaves to the daemon.
    WrongChecksum,
    /// One node's sound requests, over and over.
    OneNode,
    /// Any bytes.
    Garbage,
    /// A node's requests with IP options, which the XDP program leaves to the daemon, and
    /// fragments.
    Unusual,
}

impl Hostile {
    /// Each kind.
    pub const ALL: [Self; 6] = [
        Self::Strangers,
        Self::Refused,
        Self::WrongChecksum,
        Self::OneNode,
        Self::Garbage,
        Self::Unusual,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strangers => "strangers",
            Self::Refused => "refused requests",
            Self::WrongChecksum => "wrong checksums",
            Self::OneNode => "one node forged",
            Self::Garbage => "garbage",
            Self::Unusual => "options, fragments",
        }
    }

    /// `count` frames of this kind; those that forge a node's address forge that of `node`, from one
    /// machine on its network.
    pub fn frames(self, node: Ipv4Addr, count: u16) -> Vec<Vec<u8>> {
        (0..count).map(|n| self.frame(node, n)).collect()
    }

    /// `count` frames, of all kinds in turn.
    pub fn mixed(node: Ipv4Addr, count: u16) -> Vec<Vec<u8>> {
        let kinds = Self::ALL.into_iter().cycle();
        (0..count)
            .zip(kinds)
            .map(|(n, kind)| kind.frame(node, n))
            .collect()
    }

    fn frame(self, node: Ipv4Addr, n: u16) -> Vec<u8> {
        let [high, low] = n.to_be_bytes();
        let stranger = RequestFrame::edk2(Ipv4Addr::new(10, 200, high, low), UEFI_X64);
        let node = Forger::OnTheWire.request(node, 0);
        // The kinds take turns with the lowest numbers.
        let variant = usize::from(n) / Self::ALL.len();
        match self {
            Self::Strangers => stranger.bytes(),
            Self::Refused => refused(stranger, variant).bytes(),
            Self::WrongChecksum => RequestFrame {
                udp_checksum: Checksum::Wrong,
                ..node
            }
            .bytes(),
            Self::OneNode => node.bytes(),
            Self::Garbage => garbage(&stranger, low),
            Self::Unusual if variant.is_multiple_of(2) => RequestFrame {
                // Router alert.
                ip_options: vec![0x94, 4, 0, 0],
                ..node
            }
            .bytes(),
            Self::Unusual => RequestFrame {
                more_fragments: true,
                ..stranger
            }
            .bytes(),
        }
    }
}

/// Where requests come from that are sent in a node's name, but not by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forger {
    /// The node's own network: the frames come from the forger's own MAC address.
    OnTheWire,
    /// Behind the node's router: the frames come from the router's MAC address, which is this one.
    ByRouter([u8; 6]),
}

impl Forger {
    /// A sound request in the name of `node`. It is right in all that the forger can know, so not in
    /// the node's MAC address and its xid; the MAC address is that of the forger's machine number
    /// `machine`.
    pub fn request(self, node: Ipv4Addr, machine: u16) -> RequestFrame {
        let [high, low] = machine.to_be_bytes();
        let own = [0x06, 0xf0, 0, 0, high, low];
        let mut request = RequestFrame::edk2(node, UEFI_X64);
        request.source_mac = match self {
            Self::OnTheWire => own,
            Self::ByRouter(router) => router,
        };
        for (to, from) in request.chaddr.iter_mut().zip(own) {
            *to = from;
        }
        // The answers go to another port than EDK2's, so that they can be told apart.
        request.source_port = 68;
        request.xid ^= 0x5555_5555;
        request
    }
}

fn refused(mut request: RequestFrame, variant: usize) -> RequestFrame {
    const MESSAGE_TYPE: u8 = 53;
    const VENDOR_CLASS: u8 = 60;
    match variant % 4 {
        0 => request.op = 2,
        1 => request.set_option(MESSAGE_TYPE, [1]),
        2 => request.remove_option(VENDOR_CLASS),
        _ => request.set_option(VENDOR_CLASS, *b"PXEServer"),
    }
    request
}

/// Behind a right UDP header without a checksum.
fn garbage(request: &RequestFrame, seed: u8) -> Vec<u8> {
    let bytes = (0..request.bootp().len()).map(|at| seed.wrapping_mul(at.to_le_bytes()[0] | 1));
    RequestFrame {
        payload: Some(bytes.collect()),
        udp_checksum: Checksum::Zero,
        ..request.clone()
    }
    .bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);

    #[test]
    fn a_mixture_has_all_kinds_and_their_variants() {
        let mixed: HashSet<Vec<u8>> = Hostile::mixed(NODE, 96).into_iter().collect();
        for kind in Hostile::ALL {
            let of_kind = kind.frames(NODE, 96);
            assert_eq!(of_kind.len(), 96);
            assert!(
                of_kind.iter().any(|frame| mixed.contains(frame)),
                "{kind:?}"
            );
        }
        let lengths: HashSet<usize> = mixed.iter().map(Vec::len).collect();
        // The usual one, that with IP options, and two vendor classes.
        assert_eq!(lengths.len(), 4, "{lengths:?}");
    }
}
