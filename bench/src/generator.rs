//! The fastest generator that the kernel has: an XDP program that writes request after request
//! into frames of its own and sends them out by the clients' interface, 64 at a time, as a network
//! card would. A socket that sends takes longer for a request than any XDP program for its answer.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, IterableMap, MapData};
use proxydhcp_lab::xdp::{self, action, instruction, verdict};
use proxydhcp_lab::{CLIENT_INTERFACE, Namespace, link};

// Operation codes of `linux/bpf.h` and `linux/bpf_common.h`, put together.
const LOAD_WORD: u8 = 0x61;
const LOAD_LONG: u8 = 0x79;
const LOAD_CONSTANT: u8 = 0x18;
const STORE_LONG: u8 = 0x7b;
const STORE_WORD: u8 = 0x63;
const STORE_CONSTANT_WORD: u8 = 0x62;
const MOVE: u8 = 0xbf;
const MOVE_CONSTANT: u8 = 0xb7;
const ADD_CONSTANT: u8 = 0x07;
const JUMP_IF_GREATER: u8 = 0x2d;
const JUMP_IF: u8 = 0x15;
const JUMP_IF_LESS: u8 = 0xa5;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Marks a constant as a map's descriptor.
const MAP_DESCRIPTOR: u8 = 1;
const LOOK_UP: i32 = 1;
const REDIRECT: i32 = 23;
const ADJUST_TAIL: i32 = 65;

/// Room for a request in its map, a multiple of 8.
const ROOM: usize = 512;
/// Frames begin with so many bytes too much, and the program cuts them off. A frame that comes back
/// as somebody's reply keeps its length otherwise: the kernel looks at its bounds anew only after
/// a program has changed them.
const SURPLUS: i32 = 8;
type Requests = Array<MapData, [u8; ROOM]>;
type Next = Array<MapData, u64>;

/// Sends requests in their order, over and over.
pub(crate) struct Generator {
    program: OwnedFd,
    frame: Vec<u8>,
    /// Held, as the program knows them by their descriptors only.
    _maps: (Requests, Next),
}

impl Generator {
    /// Makes one for `requests`, which must all be of the same length.
    pub(crate) fn new(namespace: &Namespace, requests: &[Vec<u8>]) -> Result<Self> {
        let length = requests.first().context("a flood of nothing")?.len();
        let count = u32::try_from(requests.len())?;
        let mut table = Requests::create(count, 0).context("cannot make a map of requests")?;
        for (index, request) in (0..).zip(requests) {
            ensure!(request.len() == length, "requests of several lengths");
            let mut value = [0; ROOM];
            value
                .get_mut(..request.len())
                .context("a request too long for its map")?
                .copy_from_slice(request);
            table.set(index, value, 0)?;
        }
        let next = Next::create(1, 0).context("cannot make a map for a number")?;
        let descriptor = |map: &MapData| map.fd().as_fd().as_raw_fd();
        let interface = link::index(namespace, CLIENT_INTERFACE)?;
        let program = xdp::load(&instructions(
            descriptor(next.map()),
            descriptor(table.map()),
            i32::try_from(count)?,
            i32::try_from(length)?,
            i32::try_from(interface)?,
        )?)?;
        Ok(Self {
            program,
            frame: vec![0; length + usize::try_from(SURPLUS)?],
            _maps: (table, next),
        })
    }

    /// Sends so many requests, from a thread in the clients' namespace.
    pub(crate) fn send(&self, count: u32) -> Result<()> {
        xdp::run_live(self.program.as_fd(), &self.frame, count)
    }
}

/// Cuts the surplus off, takes the next number, the request of this number, writes it over the frame and redirects it.
fn instructions(
    next: i32,
    requests: i32,
    count: i32,
    length: i32,
    interface: i32,
) -> Result<Vec<u64>> {
    let look_up = |map: i32| {
        [
            instruction(MOVE, 2, 10, 0, 0),
            instruction(ADD_CONSTANT, 2, 0, 0, -4),
            instruction(LOAD_CONSTANT, 1, MAP_DESCRIPTOR, 0, map),
            0,
            instruction(CALL, 0, 0, 0, LOOK_UP),
        ]
    };
    let copy = copy(i16::try_from(length)?);
    let redirect = [
        instruction(MOVE_CONSTANT, 1, 0, 0, interface),
        instruction(MOVE_CONSTANT, 2, 0, 0, 0),
        instruction(CALL, 0, 0, 0, REDIRECT),
        instruction(EXIT, 0, 0, 0, 0),
    ];
    // Where something fails, over all that follows to the drop at the end.
    let to_the_end = |left: usize| i16::try_from(left + copy.len() + redirect.len());
    let mut program = vec![
        instruction(MOVE, 8, 1, 0, 0),
        instruction(MOVE_CONSTANT, 2, 0, 0, -SURPLUS),
        instruction(CALL, 0, 0, 0, ADJUST_TAIL),
        instruction(LOAD_WORD, 6, 8, 0, 0),
        instruction(LOAD_WORD, 7, 8, 4, 0),
        instruction(STORE_CONSTANT_WORD, 10, 0, -4, 0),
    ];
    program.extend(look_up(next));
    program.extend([
        instruction(JUMP_IF, 0, 0, to_the_end(15)?, 0),
        instruction(LOAD_LONG, 1, 0, 0, 0),
        instruction(STORE_WORD, 10, 1, -4, 0),
        instruction(ADD_CONSTANT, 1, 0, 0, 1),
        instruction(JUMP_IF_LESS, 1, 0, 1, count),
        instruction(MOVE_CONSTANT, 1, 0, 0, 0),
        instruction(STORE_LONG, 0, 1, 0, 0),
    ]);
    program.extend(look_up(requests));
    program.extend([
        instruction(JUMP_IF, 0, 0, to_the_end(3)?, 0),
        instruction(MOVE, 1, 6, 0, 0),
        instruction(ADD_CONSTANT, 1, 0, 0, length),
        instruction(JUMP_IF_GREATER, 1, 7, to_the_end(0)?, 0),
    ]);
    program.extend(copy);
    program.extend(redirect);
    program.extend(verdict(action::DROP));
    Ok(program)
}

/// Copies from register 0 to register 6.
fn copy(length: i16) -> Vec<u64> {
    const LOAD_BYTE: u8 = 0x71;
    const STORE_BYTE: u8 = 0x73;
    let mut program = Vec::new();
    let mut at = 0;
    while at < length {
        let (load, store, step) = if length - at >= 8 {
            (LOAD_LONG, STORE_LONG, 8)
        } else {
            (LOAD_BYTE, STORE_BYTE, 1)
        };
        program.push(instruction(load, 1, 0, at, 0));
        program.push(instruction(store, 6, 1, at, 0));
        at += step;
    }
    program
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proxydhcp_lab::{Lab, SERVER_INTERFACE, Tap};

    use super::*;
    use crate::cluster::Node;

    #[test]
    fn zz_cost() {
        let lab = Lab::new().unwrap();
        let _takes = link::occupy_xdp(&lab.server, SERVER_INTERFACE).unwrap();
        let requests: Vec<Vec<u8>> = Node::all(3).map(|node| node.request().bytes()).collect();
        let generator = Generator::new(&lab.client, &requests).unwrap();
        lab.client
            .run(|| {
                for count in [1, 8, 64, 256, 1024, 65536] {
                    let t = std::time::Instant::now();
                    for _ in 0..200 {
                        generator.send(count)?;
                    }
                    eprintln!("{count}: {:?}", t.elapsed() / 200);
                }
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn requests_go_out_in_their_order_over_and_over() {
        let lab = Lab::new().unwrap();
        // A veth end takes redirected frames only if it has an XDP program itself.
        let _takes = link::occupy_xdp(&lab.server, SERVER_INTERFACE).unwrap();
        let mut server = Tap::open(&lab.server, SERVER_INTERFACE).unwrap();
        let requests: Vec<Vec<u8>> = Node::all(3).map(|node| node.request().bytes()).collect();
        let generator = Generator::new(&lab.client, &requests).unwrap();
        lab.client.run(|| generator.send(7)).unwrap();
        for wanted in requests.iter().cycle().take(7) {
            let came = server.receive(Duration::from_secs(1)).unwrap();
            assert_eq!(came.as_ref(), Some(wanted));
        }
    }
}
