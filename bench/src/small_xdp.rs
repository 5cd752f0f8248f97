//! The benchmark's own XDP programs: the reflector, which shows how much a responder can achieve on
//! this wire, and the counter, which is the cheapest possible receiver.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use aya::maps::{IterableMap, MapData, PerCpuArray};
use proxydhcp_lab::xdp::{self, action, instruction, verdict};

// Operation codes, combined from `linux/bpf.h` and `linux/bpf_common.h`.
const LOAD_BYTE: u8 = 0x71;
const LOAD_HALF: u8 = 0x69;
const LOAD_WORD: u8 = 0x61;
const LOAD_LONG: u8 = 0x79;
const LOAD_CONSTANT: u8 = 0x18;
const STORE_HALF: u8 = 0x6b;
const STORE_WORD: u8 = 0x63;
const STORE_LONG: u8 = 0x7b;
const STORE_CONSTANT_WORD: u8 = 0x62;
const MOVE: u8 = 0xbf;
const ADD_CONSTANT: u8 = 0x07;
const JUMP_IF_GREATER: u8 = 0x2d;
const JUMP_UNLESS: u8 = 0x55;
const JUMP_IF: u8 = 0x15;
const CALL: u8 = 0x85;
/// Marks a constant as a map's descriptor.
const MAP_DESCRIPTOR: u8 = 1;
const LOOK_UP: i32 = 1;

// Offsets in an untagged frame with an IPv4 header without options.
const ETHER_TYPE: i16 = 12;
const IP_VERSION: i16 = 14;
const PROTOCOL: i16 = 23;
const ADDRESSES: i16 = 26;
const SOURCE_PORT: i16 = 34;
const DESTINATION_PORT: i16 = 36;
const UDP_END: i32 = 42;
const PORT: u16 = 4011;

/// Counts and drops replies where they arrive, by an XDP program at the clients' end.
pub(crate) struct Counter {
    counts: PerCpuArray<MapData, u64>,
    program: OwnedFd,
}

impl Counter {
    pub(crate) fn new() -> Result<Self> {
        let counts = PerCpuArray::create(1, 0).context("cannot make a map of counts")?;
        let map = counts.map().fd().as_fd().as_raw_fd();
        let count = [
            instruction(STORE_CONSTANT_WORD, 10, 0, -4, 0),
            instruction(MOVE, 2, 10, 0, 0),
            instruction(ADD_CONSTANT, 2, 0, 0, -4),
            instruction(LOAD_CONSTANT, 1, MAP_DESCRIPTOR, 0, map),
            0,
            instruction(CALL, 0, 0, 0, LOOK_UP),
            instruction(JUMP_IF, 0, 0, 3, 0),
            instruction(LOAD_LONG, 1, 0, 0, 0),
            instruction(ADD_CONSTANT, 1, 0, 0, 1),
            instruction(STORE_LONG, 0, 1, 0, 0),
        ];
        let program = xdp::load(&for_port(SOURCE_PORT, &count, action::DROP))?;
        Ok(Self { counts, program })
    }

    pub(crate) fn program(&self) -> &OwnedFd {
        &self.program
    }

    /// The number of replies so far.
    pub(crate) fn total(&self) -> Result<u64> {
        Ok(self.counts.get(&0, 0)?.iter().sum())
    }
}

/// A program that sends each request back unchanged, except that addresses and ports are exchanged,
/// which changes no checksum.
pub(crate) fn reflector() -> Result<OwnedFd> {
    let exchange = |load: u8, store: u8, one: i16, other: i16| {
        [
            instruction(load, 4, 2, one, 0),
            instruction(load, 5, 2, other, 0),
            instruction(store, 2, 5, one, 0),
            instruction(store, 2, 4, other, 0),
        ]
    };
    let body = [
        exchange(LOAD_WORD, STORE_WORD, 0, 6),
        exchange(LOAD_HALF, STORE_HALF, 4, 10),
        exchange(LOAD_WORD, STORE_WORD, ADDRESSES, ADDRESSES + 4),
        exchange(LOAD_HALF, STORE_HALF, SOURCE_PORT, DESTINATION_PORT),
    ];
    xdp::load(&for_port(DESTINATION_PORT, &body.concat(), action::TX))
}

/// A program that passes every frame.
pub(crate) fn pass() -> Result<OwnedFd> {
    xdp::load(&verdict(action::PASS))
}

/// A program that runs `body` and then returns `result` for UDP frames with port 4011 at `port_at`,
/// and passes other frames. Register 2 points to the frame's start.
fn for_port(port_at: i16, body: &[u64], result: i32) -> Vec<u64> {
    const IPV4_OF_20_BYTES: i32 = 0x45;
    const UDP: i32 = 17;
    let wire_order = |value: u16| i32::from(u16::from_ne_bytes(value.to_be_bytes()));
    let checks = [
        (LOAD_HALF, ETHER_TYPE, wire_order(0x0800)),
        (LOAD_BYTE, IP_VERSION, IPV4_OF_20_BYTES),
        (LOAD_BYTE, PROTOCOL, UDP),
        (LOAD_HALF, port_at, wire_order(PORT)),
    ];
    let act = [body, &verdict(result)].concat();
    // A failed check jumps over the later checks and the body.
    let mut left = i16::try_from(2 * checks.len() + act.len()).unwrap_or_default();
    let mut program = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(LOAD_WORD, 3, 1, 4, 0),
        instruction(MOVE, 4, 2, 0, 0),
        instruction(ADD_CONSTANT, 4, 0, 0, UDP_END),
        instruction(JUMP_IF_GREATER, 4, 3, left, 0),
    ];
    for (load, at, value) in checks {
        left -= 2;
        program.push(instruction(load, 4, 2, at, 0));
        program.push(instruction(JUMP_UNLESS, 4, 0, left, value));
    }
    program.extend(act);
    program.extend(verdict(action::PASS));
    program
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proxydhcp_lab::RequestFrame;
    use proxydhcp_lab::architecture::UEFI_X64;
    use proxydhcp_lab::datagram::Datagram;

    use super::*;

    fn request() -> Vec<u8> {
        RequestFrame::edk2(Ipv4Addr::new(10, 77, 1, 2), UEFI_X64).bytes()
    }

    #[test]
    fn the_reflector_exchanges_the_ends() {
        let mut out = [0; 2048];
        let request = request();
        let reflector = reflector().unwrap();
        let run = xdp::run(reflector.as_fd(), &request, &mut out).unwrap();
        assert_eq!((run.action, run.length), (action::TX, request.len()));
        let reply = Datagram::parse(&out[..run.length]).unwrap();
        let asked = Datagram::parse(&request).unwrap();
        reply.verify_checksums().unwrap();
        assert_eq!(reply.source_mac, asked.destination_mac);
        assert_eq!(reply.destination_mac, asked.source_mac);
        assert_eq!(
            (reply.source, reply.destination),
            (asked.destination, asked.source)
        );
        assert_eq!(
            (reply.source_port, reply.destination_port),
            (4011, asked.source_port)
        );
        assert_eq!(reply.payload, asked.payload);
    }

    #[test]
    fn the_counter_counts_frames_from_4011_alone() {
        let counter = Counter::new().unwrap();
        let mut out = [0; 2048];
        let mut other = request();
        // EDK2's source port is also 4011.
        for _ in 0..3 {
            let run = xdp::run(counter.program().as_fd(), &other, &mut out).unwrap();
            assert_eq!(run.action, action::DROP);
        }
        other[35] ^= 1;
        let run = xdp::run(counter.program().as_fd(), &other, &mut out).unwrap();
        assert_eq!(run.action, action::PASS);
        assert_eq!(counter.total().unwrap(), 3);
    }
}
