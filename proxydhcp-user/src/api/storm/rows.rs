//! The states of nodes, in few bytes.
//!
//! For each node that is told about, as [`wire`] has numbers: how many nodes there are between it and the
//! one before, and the place of its state in [`State::ALL`]. Unless it is silent: the architecture, the requests, by how many
//! milliseconds its first one was later than that of the node before, with a sign (of the first node:
//! than the time of the update), how many milliseconds it was heard of after that, and the KiB fetched.

use super::wire::{self, Reader};
use super::{Row, number};
use crate::api::activity::State;

/// Writes rows.
#[derive(Debug)]
pub struct Rows {
    bytes: Vec<u8>,
    /// The next node that there could be.
    next: u32,
    first: u64,
}

impl Rows {
    /// No rows yet, of an update of this time.
    pub fn new(now: u64) -> Self {
        Self {
            bytes: Vec::new(),
            next: 0,
            first: now,
        }
    }

    /// Adds a node, which comes after all others.
    pub fn push(&mut self, node: u32, row: &Row) {
        let bytes = &mut self.bytes;
        wire::write(bytes, node.saturating_sub(self.next).into());
        self.next = node.saturating_add(1);
        wire::write(bytes, number(row.state) as u64);
        if row.state == State::Silent {
            return;
        }
        wire::write(bytes, row.arch.into());
        wire::write(bytes, row.requests.into());
        let step = row
            .first
            .cast_signed()
            .wrapping_sub(self.first.cast_signed());
        wire::write_signed(bytes, step);
        self.first = row.first;
        wire::write(bytes, row.last.saturating_sub(row.first));
        wire::write(bytes, row.kib.into());
    }

    /// The number of bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no row yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The rows.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The rows of an update of this time, with the numbers of their nodes; `None` if the bytes are not of that form.
pub fn read(bytes: &[u8], now: u64) -> Option<Vec<(u32, Row)>> {
    let mut reader = Reader(bytes);
    let mut rows = Vec::new();
    let (mut next, mut first) = (0_u32, now);
    while !reader.is_at_end() {
        let node = next.checked_add(reader.small()?)?;
        next = node.checked_add(1)?;
        let number = usize::try_from(reader.number()?).ok()?;
        let state = *State::ALL.get(number)?;
        let mut row = Row {
            state,
            ..Row::default()
        };
        if state != State::Silent {
            row.arch = reader.number()?.try_into().ok()?;
            row.requests = reader.small()?;
            first = first.wrapping_add_signed(reader.signed()?);
            row.first = first;
            row.last = first.checked_add(reader.number()?)?;
            row.kib = reader.small()?;
        }
        rows.push((node, row));
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let now = 1_796_000_000_000;
        let row = |state, first, last| Row {
            state,
            arch: 7,
            requests: 3,
            first,
            last,
            kib: 300_000,
        };
        let all = [
            (0, row(State::Answered, now - 4000, now - 3999)),
            (1, Row::default()),
            (7, row(State::Fetched, now - 5000, now)),
            (70_000, row(State::Refused, 0, u64::from(u32::MAX))),
            (u32::MAX - 1, row(State::Failed, now, now)),
        ];
        let mut rows = Rows::new(now);
        for (node, row) in &all {
            rows.push(*node, row);
        }
        let bytes = rows.into_bytes();
        assert_eq!(read(&bytes, now).unwrap(), all);
        for end in 1..bytes.len() {
            assert!(read(&bytes[..end], now).is_none_or(|rows| rows.len() < all.len()));
        }
    }
}
