//! The generator's XDP program, written by hand.

use std::time::Duration;

use anyhow::Result;
use aya::Pod;
use proxydhcp_lab::xdp::{action, instruction, verdict};

use super::Sent;

// Operation codes, combined from `linux/bpf.h` and `linux/bpf_common.h`.
const LOAD_BYTE: u8 = 0x71;
const LOAD_WORD: u8 = 0x61;
const LOAD_LONG: u8 = 0x79;
const LOAD_CONSTANT: u8 = 0x18;
const STORE_BYTE: u8 = 0x73;
const STORE_WORD: u8 = 0x63;
const STORE_LONG: u8 = 0x7b;
const STORE_CONSTANT_WORD: u8 = 0x62;
const STORE_CONSTANT_LONG: u8 = 0x7a;
const MOVE: u8 = 0xbf;
const MOVE_CONSTANT: u8 = 0xb7;
const ADD_CONSTANT: u8 = 0x07;
const SUBTRACT: u8 = 0x1f;
const MULTIPLY: u8 = 0x2f;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP: u8 = 0x05;
const JUMP_IF: u8 = 0x15;
const JUMP_UNLESS: u8 = 0x55;
const JUMP_IF_GREATER: u8 = 0x2d;
const JUMP_UNLESS_GREATER: u8 = 0xbd;
const JUMP_IF_LESS_THAN_CONSTANT: u8 = 0xa5;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Marks a constant as a map's descriptor.
const MAP_DESCRIPTOR: u8 = 1;

// Numbers of the kernel's helper functions.
const LOOK_UP: i32 = 1;
const TIME: i32 = 5;
const REDIRECT: i32 = 23;
const ADJUST_TAIL: i32 = 65;

/// The space for a request in its map in bytes, a multiple of 8.
pub(super) const ROOM: usize = 512;
/// The number of surplus bytes at the start of a frame, which the program cuts off. Without a cut,
/// a frame that comes back as a reply would keep the reply's length, because the kernel looks at a
/// frame's bounds only after a program has changed them.
pub(super) const SURPLUS: i32 = 8;
/// The number of requests that a delayed generator catches up at most: a longer burst would not be
/// a steady rate.
const LONGEST_DEBT: i32 = 64;
/// Rates are in requests per nanosecond, times two to this power.
const RATE_BITS: i32 = 32;

/// The state that the program keeps between runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(super) struct State {
    /// The number of the next request.
    next: u64,
    /// The rate; zero sends one request in each run.
    rate: u64,
    /// When pacing began, and the number of requests sent since.
    paced_from: u64,
    paced: u64,
    /// The times of the first and the last run, and the number of requests sent.
    first: u64,
    last: u64,
    sent: u64,
}

// SAFETY: it is seven words without padding, and any bits are valid.
unsafe impl Pod for State {}

const NEXT: i16 = 0;
const RATE: i16 = 8;
const PACED_FROM: i16 = 16;
const PACED: i16 = 24;
const FIRST: i16 = 32;
const LAST: i16 = 40;
const SENT: i16 = 48;

impl State {
    /// The state to begin with, continuing after the last request of `before`.
    pub(super) fn fresh(rate: Option<f64>, before: &Self) -> Self {
        let factor = 2_f64.powi(RATE_BITS) / 1e9;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rates are positive and far below 2^52"
        )]
        let rate = rate.map_or(0, |rate| (rate * factor).max(1.0) as u64);
        Self {
            next: before.next,
            rate,
            ..Self::default()
        }
    }

    pub(super) fn sent(&self) -> Sent {
        Sent {
            requests: self.sent,
            took: Duration::from_nanos(self.last.saturating_sub(self.first)),
        }
    }
}

/// Instructions, including jumps to their end.
#[derive(Default)]
struct Program {
    instructions: Vec<u64>,
    jumps: Vec<(usize, u8, u8, u8)>,
}

impl Program {
    fn add(&mut self, instructions: &[u64]) {
        self.instructions.extend_from_slice(instructions);
    }

    /// Jumps to the end, where the frame is dropped.
    fn drop_if(&mut self, code: u8, one: u8, other: u8) {
        self.jumps.push((self.instructions.len(), code, one, other));
        self.instructions.push(0);
    }

    fn look_up(&mut self, map: i32) {
        self.add(&[
            instruction(MOVE, 2, 10, 0, 0),
            instruction(ADD_CONSTANT, 2, 0, 0, -4),
            instruction(LOAD_CONSTANT, 1, MAP_DESCRIPTOR, 0, map),
            0,
            instruction(CALL, 0, 0, 0, LOOK_UP),
        ]);
        self.drop_if(JUMP_IF, 0, 0);
    }

    fn finish(mut self) -> Result<Vec<u64>> {
        let end = self.instructions.len();
        for (at, code, one, other) in self.jumps {
            let offset = i16::try_from(end - at - 1)?;
            if let Some(place) = self.instructions.get_mut(at) {
                *place = instruction(code, one, other, offset, 0);
            }
        }
        self.instructions.extend(verdict(action::DROP));
        Ok(self.instructions)
    }
}

/// If a request is due, writes the next one over the frame and redirects the frame to `interface`.
/// `requests` holds a map's descriptor and the number of its entries.
pub(super) fn program(
    state: i32,
    requests: (i32, i32),
    length: i16,
    interface: i32,
) -> Result<Vec<u64>> {
    let (requests, count) = requests;
    let mut program = Program::default();
    program.add(&[
        instruction(MOVE, 8, 1, 0, 0),
        instruction(MOVE_CONSTANT, 2, 0, 0, -SURPLUS),
        instruction(CALL, 0, 0, 0, ADJUST_TAIL),
        instruction(STORE_CONSTANT_WORD, 10, 0, -4, 0),
    ]);
    program.look_up(state);
    program.add(&[
        instruction(MOVE, 9, 0, 0, 0),
        instruction(CALL, 0, 0, 0, TIME),
        // The very first run sets the clocks.
        instruction(LOAD_LONG, 1, 9, FIRST, 0),
        instruction(JUMP_UNLESS, 1, 0, 2, 0),
        instruction(STORE_LONG, 9, 0, FIRST, 0),
        instruction(STORE_LONG, 9, 0, PACED_FROM, 0),
        instruction(STORE_LONG, 9, 0, LAST, 0),
        // At full speed, pacing is skipped.
        instruction(LOAD_LONG, 2, 9, RATE, 0),
        instruction(JUMP_IF, 2, 0, 14, 0),
        instruction(MOVE, 4, 0, 0, 0),
        instruction(LOAD_LONG, 1, 9, PACED_FROM, 0),
        instruction(SUBTRACT, 4, 1, 0, 0),
        instruction(MULTIPLY, 4, 2, 0, 0),
        instruction(SHIFT_RIGHT, 4, 0, 0, RATE_BITS),
        instruction(LOAD_LONG, 3, 9, PACED, 0),
    ]);
    program.drop_if(JUMP_UNLESS_GREATER, 4, 3);
    program.add(&[
        instruction(SUBTRACT, 4, 3, 0, 0),
        instruction(JUMP_IF_LESS_THAN_CONSTANT, 4, 0, 3, LONGEST_DEBT),
        instruction(STORE_LONG, 9, 0, PACED_FROM, 0),
        instruction(STORE_CONSTANT_LONG, 9, 0, PACED, 0),
        instruction(JUMP, 0, 0, 2, 0),
        instruction(ADD_CONSTANT, 3, 0, 0, 1),
        instruction(STORE_LONG, 9, 3, PACED, 0),
        // Loads the number of the next request.
        instruction(LOAD_LONG, 1, 9, SENT, 0),
        instruction(ADD_CONSTANT, 1, 0, 0, 1),
        instruction(STORE_LONG, 9, 1, SENT, 0),
        instruction(LOAD_LONG, 1, 9, NEXT, 0),
        instruction(STORE_WORD, 10, 1, -4, 0),
        instruction(ADD_CONSTANT, 1, 0, 0, 1),
        instruction(JUMP_IF_LESS_THAN_CONSTANT, 1, 0, 1, count),
        instruction(MOVE_CONSTANT, 1, 0, 0, 0),
        instruction(STORE_LONG, 9, 1, NEXT, 0),
    ]);
    program.look_up(requests);
    program.add(&[
        instruction(LOAD_WORD, 6, 8, 0, 0),
        instruction(LOAD_WORD, 7, 8, 4, 0),
        instruction(MOVE, 1, 6, 0, 0),
        instruction(ADD_CONSTANT, 1, 0, 0, length.into()),
    ]);
    program.drop_if(JUMP_IF_GREATER, 1, 7);
    program.add(&copy(length));
    program.add(&[
        instruction(MOVE_CONSTANT, 1, 0, 0, interface),
        instruction(MOVE_CONSTANT, 2, 0, 0, 0),
        instruction(CALL, 0, 0, 0, REDIRECT),
        instruction(EXIT, 0, 0, 0, 0),
    ]);
    program.finish()
}

/// Copies from register 0 to register 6.
fn copy(length: i16) -> Vec<u64> {
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
    use super::*;

    #[test]
    fn every_byte_is_copied_once() {
        assert_eq!(copy(16).len(), 2 * 2);
        assert_eq!(copy(389).len(), 2 * (48 + 5));
    }

    #[test]
    fn rates_are_fine_enough() {
        let state = State::fresh(Some(1000.0), &State::default());
        // The number of requests that are due after a second.
        assert_eq!((u128::from(state.rate) * 1_000_000_000) >> RATE_BITS, 999);
        assert_eq!(State::fresh(None, &State::default()).rate, 0);
    }
}
