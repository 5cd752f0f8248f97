//! Answering a frame in a buffer of userspace, as all packet threads do.

use std::sync::atomic::{AtomicU64, Ordering};

use proxydhcp_common::counters::{COUNTERS, Counts, HANDED_UP, refused};
use proxydhcp_common::frame::{Frame, Slice};
use proxydhcp_common::judge::{Reason, Stop, judge};
use proxydhcp_common::nodes::Nodes;
use proxydhcp_common::{headers, reply, unusual};

use crate::generation::Generation;

/// Makes the frame in `buffer`'s first `len` bytes its own reply and returns the reply's length.
/// For `mac` and `vouched` see [`unusual::judge`].
pub(crate) fn answer(
    buffer: &mut [u8],
    len: usize,
    tables: &Generation,
    mac: [u8; 6],
    vouched: bool,
) -> Result<usize, Stop> {
    let mut frame = Slice::new(buffer, len).ok_or(NO_ROOM)?;
    reply(&mut frame, tables, mac, vouched).inspect_err(|&stop| {
        if stop == Stop::Refuse(Reason::Unknown) {
            note(&frame, tables);
        }
    })?;
    Ok(frame.len())
}

const NO_ROOM: Stop = Stop::Refuse(Reason::Length);

/// The same, and nobody is noted.
pub(crate) fn reply(
    frame: &mut Slice<'_>,
    tables: &Generation,
    mac: [u8; 6],
    vouched: bool,
) -> Result<(), Stop> {
    let written = match judge(frame, tables) {
        Ok(answer) => reply::write(frame, &answer),
        Err(Stop::Unusual) => {
            let answer = unusual::judge(frame, tables, mac, vouched)?;
            unusual::write(frame, &answer)
        }
        Err(stop) => return Err(stop),
    };
    written.map_err(|_| NO_ROOM)
}

/// Notes the client to be looked up, where that is the policy. The frame was made plain and found
/// sound but for its client.
fn note(frame: &Slice<'_>, tables: &Generation) -> Option<()> {
    let strangers = tables.strangers()?;
    let nodes = Nodes::open(tables.lines())?;
    let packet = headers::locate(frame, &nodes).ok()?;
    let client = headers::admit(frame, &packet).ok()?.client;
    if nodes.client(client).is_to_be_looked_up() {
        strangers.note(client.into());
    }
    Some(())
}

/// What a packet thread counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: [AtomicU64; COUNTERS],
    /// Replies that the interface did not take.
    pub(crate) unsent: AtomicU64,
}

impl Tally {
    /// Counts a frame that is not answered.
    pub(crate) fn stop(&self, stop: Stop) {
        match stop {
            Stop::NotOurs => {}
            // Nobody is left to hand it to.
            Stop::Unusual => self.add(HANDED_UP, 1),
            Stop::Refuse(reason) => self.add(refused(reason), 1),
        }
    }

    /// Adds to one of [`Counts`].
    pub(crate) fn add(&self, counter: usize, count: usize) {
        if let Some(counter) = self.counts.get(counter) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// All counts but the one of unsent replies.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = [0; COUNTERS];
        for (count, counter) in counts.iter_mut().zip(&self.counts) {
            *count = counter.load(Ordering::Relaxed);
        }
        counts
    }
}
