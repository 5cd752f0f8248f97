//! Answers a frame in a buffer in user space, as all packet threads do.

use std::sync::atomic::{AtomicU64, Ordering};

use proxydhcp_common::activity::{Moment, Outcome};
use proxydhcp_common::answer::{NO_ROOM, reply};
use proxydhcp_common::counters::{COUNTERS, Counts, HANDED_UP, LIMITED, PASSED, RECEIVED, refused};
use proxydhcp_common::frame::{Frame, Slice};
use proxydhcp_common::headers;
use proxydhcp_common::judge::{Asker, Tables};
use proxydhcp_common::limit::{Bucket, Ticks};
use proxydhcp_common::nodes::{Line, Nodes};
use proxydhcp_common::slow_path;
use proxydhcp_common::source::Source;
use proxydhcp_common::template::Template;
use proxydhcp_common::vendor_class::VendorClass;
use proxydhcp_common::verdict::{Reason, Stop};
use proxydhcp_common::wire::{Address, BROADCAST};

use crate::datapath::activity::{Activity, Memory};
use crate::datapath::buckets::Limits;
use crate::datapath::confused::ConfusedClients;
use crate::datapath::unknown_clients::UnknownClients;
use crate::tables::generation::Generation;

/// What a packet thread needs to answer a frame.
pub(crate) struct AnswerContext<'t> {
    pub(crate) tables: &'t Generation,
    /// The interface's own address.
    pub(crate) mac: [u8; 6],
    /// The rate limits and the current time; `None` if the XDP program has applied the limits
    /// already.
    pub(crate) limits: Option<(&'t Limits, Ticks)>,
    /// Receives clients whose names should be looked up.
    pub(crate) unknown_clients: Option<&'t UnknownClients>,
    /// Receives clients that are two nodes.
    pub(crate) confused: Option<&'t ConfusedClients>,
    /// The address that answers requests to 255.255.255.255, if they are to be answered.
    pub(crate) broadcasts: Option<Address>,
    /// Where it is noted what the nodes have done, and the current time.
    pub(crate) activity: (&'t Memory, Moment),
}

impl Tables for AnswerContext<'_> {
    type Lines = [Line];

    fn nodes(&self) -> Option<&[Line]> {
        self.tables.nodes()
    }

    fn template(&self, bank: u32, number: u32) -> Option<&Template> {
        self.tables.template(bank, number)
    }

    fn vendor_classes(&self) -> &[VendorClass] {
        self.tables.vendor_classes()
    }

    fn bucket(&self, source: &Source) -> Result<Option<Bucket<'_>>, Stop> {
        Ok(self.limits.and_then(|(limits, _)| limits.bucket(source)))
    }

    fn now(&self) -> Ticks {
        self.limits.map_or(0, |(_, now)| now)
    }

    fn note(&self, asker: Asker, outcome: Outcome, architecture: Option<u8>) {
        let (memory, now) = self.activity;
        Activity::note(memory, now, &asker, outcome, architecture);
    }
}

/// Turns the frame of `len` bytes in `buffer` into its reply and returns the reply's length; `None`
/// if there is no reply, the reason for which is counted. Of a frame longer than the buffer, the
/// buffer holds the beginning. For `vouched` see [`proxydhcp_common::slow_path::judge`].
///
/// The caller counts whether the reply was sent.
pub(crate) fn answer(
    buffer: &mut [u8],
    len: usize,
    context: &AnswerContext<'_>,
    vouched: bool,
    tally: &Tally,
) -> Option<usize> {
    let held = len.min(buffer.len());
    let mut frame = Slice::new(buffer, held)?;
    let mut packet = headers::find(&frame)?;
    tally.add(RECEIVED, 1);
    if packet.destination == BROADCAST
        && held == len
        && let Some(server) = context.broadcasts
    {
        packet = slow_path::readdress(&mut frame, &packet, server);
    }
    let replied = if held < len {
        Err(too_long(&packet, context))
    } else {
        reply(&mut frame, &packet, context, context.mac, vouched)
    };
    match replied {
        Ok(()) => Some(frame.len()),
        Err(stop) => {
            match stop {
                Stop::Refuse(Reason::Unknown) => {
                    note(&frame, context);
                }
                Stop::Refuse(Reason::Identity) => {
                    if let Some(confused) = context.confused
                        && let Some(identity) = slow_path::identity(&frame, &packet)
                    {
                        confused.note(identity);
                    }
                }
                _ => {}
            }
            tally.stop(stop);
            None
        }
    }
}

/// The verdict on a frame that is longer than the buffer. One that this host forwards is no fault.
fn too_long(packet: &headers::Packet, context: &AnswerContext<'_>) -> Stop {
    let nodes = context.nodes().and_then(Nodes::open);
    if nodes.is_some_and(|nodes| nodes.is_local(packet.destination)) {
        NO_ROOM
    } else {
        Stop::NotOurs
    }
}

/// Notes the client to be looked up, if that is the policy. The frame is normalised, and was refused
/// because of its client alone, before its UDP checksum was verified.
fn note(frame: &Slice<'_>, context: &AnswerContext<'_>) -> Option<()> {
    let unknown_clients = context.unknown_clients?;
    let nodes = Nodes::open(context.tables.lines())?;
    let packet = headers::find(frame)?;
    let client = headers::admit(frame, &packet).ok()?.client;
    if nodes.client(client).is_to_be_looked_up() {
        unknown_clients.note(client.into());
    }
    Some(())
}

/// The counters of a packet thread.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: [AtomicU64; COUNTERS],
    /// Replies that the interface has not taken.
    pub(crate) unsent: AtomicU64,
}

impl Tally {
    /// Counts a packet that is not answered.
    fn stop(&self, stop: Stop) {
        match stop {
            Stop::NotOurs => self.add(PASSED, 1),
            // Unreachable: `reply` takes the slow path itself.
            Stop::SlowPath => self.add(HANDED_UP, 1),
            Stop::Refuse(reason) => self.add(refused(reason), 1),
            Stop::Limited => self.add(LIMITED, 1),
        }
    }

    /// Adds to one of [`Counts`].
    pub(crate) fn add(&self, counter: usize, count: usize) {
        if let Some(counter) = self.counts.get(counter) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// All counts except that of unsent replies.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = [0; COUNTERS];
        for (count, counter) in counts.iter_mut().zip(&self.counts) {
            *count = counter.load(Ordering::Relaxed);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::policy::Policy;
    use crate::tables::table::Table;

    #[test]
    fn a_frame_longer_than_the_buffer_is_refused_only_if_it_is_to_this_host() {
        let table = Table::empty();
        let (own, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (before, policy) = (Generation::default(), Policy::default());
        let tables = Generation::next(&before, &table, &[own.into()], &policy).unwrap();
        let context = AnswerContext {
            tables: &tables,
            mac: [2, 0, 0, 0, 0, 1],
            limits: None,
            unknown_clients: None,
            confused: None,
            broadcasts: None,
            activity: (&Memory::nowhere(), 1),
        };
        for (destination, counter) in [(own, refused(Reason::Length)), (other, PASSED)] {
            let mut frame = [0; 100];
            frame[12..14].copy_from_slice(&[8, 0]);
            frame[14..16].copy_from_slice(&[0x45, 0]);
            frame[23] = 17;
            frame[30..34].copy_from_slice(&destination);
            frame[36..38].copy_from_slice(&4011_u16.to_be_bytes());
            let tally = Tally::default();
            assert_eq!(answer(&mut frame, 9000, &context, false, &tally), None);
            let mut wanted = [0; COUNTERS];
            wanted[RECEIVED] = 1;
            wanted[counter] = 1;
            assert_eq!(tally.counts(), wanted, "{destination:?}");
        }
    }
}
