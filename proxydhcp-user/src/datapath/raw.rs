//! The `raw` datapath: a thread per interface that answers requests from an AF_PACKET ring.
//!
//! It receives everything that the XDP program lets pass, or every request where there is no
//! program, and is the only datapath that judges requests of the slow path. Replies go out through
//! the same socket, a batch at a time.

use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use proxydhcp_common::PORT;
use proxydhcp_common::counters::{ANSWERED, Counts};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use tracing::warn;

use crate::datapath::Shared;
use crate::datapath::activity;
use crate::datapath::answer::{AnswerContext, Tally, answer};
use crate::datapath::buckets;
use crate::datapath::packet_thread::{Orders, PacketThread};
use crate::sys::interface::Interface;
use crate::sys::{packet_filter, privileges};

pub mod offers;
mod ring;

pub use ring::Room;
use ring::{Received, Ring};

/// The number of replies sent by one system call.
const BATCH: usize = 64;

/// The number of blocks read before the thread checks for orders again: a flood must not prevent
/// that.
const TURN: usize = 8;

/// Room for a frame of the usual MTU with two VLAN tags, and for any reply. Longer frames are not
/// requests.
const FRAME: usize = 2048;

/// The datapath on one interface. Dropping it stops the thread.
#[derive(Debug)]
pub struct RawDatapath {
    tally: Arc<Tally>,
    lost: AtomicU64,
    socket: Arc<OwnedFd>,
    server: Arc<AtomicU32>,
    thread: PacketThread,
}

impl RawDatapath {
    /// Opens a ring of this size and starts the thread, which answers from the tables that `shared`
    /// holds at the time, within its rate limits.
    ///
    /// # Errors
    ///
    /// If the ring or the thread cannot be created, mostly for lack of CAP_NET_RAW.
    pub fn start(interface: &Interface, room: Room, shared: Arc<Shared>) -> Result<Self> {
        let name = &interface.name;
        let ring = Ring::open(interface.index, room, &packet_filter::to_port(PORT))
            .with_context(|| format!("cannot open a packet ring on {name}"))?;
        let tally = Arc::new(Tally::default());
        let server = Arc::new(AtomicU32::new(offers::first(&interface.addresses)));
        let socket = ring.socket();
        let worker = Worker {
            ring,
            shared,
            tally: Arc::clone(&tally),
            mac: interface.mac,
            outbox: Outbox::new(Arc::clone(&socket)),
            server: Arc::clone(&server),
        };
        let interface = name.clone();
        let thread = PacketThread::start(format!("raw-{name}"), move |orders| {
            privileges::give_up();
            worker.run(&interface, orders);
        })?;
        Ok(Self {
            tally,
            lost: AtomicU64::new(0),
            socket,
            server,
            thread,
        })
    }

    /// The counts of the frames received here.
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// The interface has these addresses now.
    pub(crate) fn readdress(&self, addresses: &[Ipv4Addr]) {
        let first = offers::first(addresses);
        self.server.store(first, Ordering::Relaxed);
    }

    /// The thread that answers.
    pub(crate) fn thread(&self) -> &PacketThread {
        &self.thread
    }

    /// The number of replies that the interface has not taken.
    pub fn unsent(&self) -> u64 {
        self.tally.unsent.load(Ordering::Relaxed)
    }

    /// The number of frames lost because the ring was full.
    pub fn lost(&self) -> u64 {
        // The kernel resets its counter whenever it is read.
        let now = ring::lost(self.socket.as_fd()).unwrap_or(0);
        let before = self.lost.fetch_add(now.into(), Ordering::Relaxed);
        before + u64::from(now)
    }
}

/// The state that the thread owns.
struct Worker {
    ring: Ring,
    shared: Arc<Shared>,
    tally: Arc<Tally>,
    mac: [u8; 6],
    outbox: Outbox,
    /// The interface's first address.
    server: Arc<AtomicU32>,
}

impl Worker {
    fn run(mut self, interface: &str, orders: &Orders) {
        loop {
            self.answer_blocks(orders);
            let mut ready = [
                PollFd::new(&self.ring, PollFlags::IN),
                PollFd::new(orders, PollFlags::IN),
            ];
            if let Err(error) = poll(&mut ready, None)
                && error != Errno::INTR
            {
                warn!("{interface}: cannot wait for requests: {error}");
                return;
            }
            let [packets, told] = ready.map(|ready| ready.revents());
            if !told.is_empty() && orders.stop() {
                return;
            }
            if packets.contains(PollFlags::ERR) {
                // The interface went down. Reading the error clears it; the ring works again when
                // the interface is up.
                match rustix::net::sockopt::socket_error(&self.ring) {
                    Ok(Err(Errno::NETDOWN)) => warn!(
                        "{interface} is down; it is served again once it is up (ip link set \
                         {interface} up)"
                    ),
                    Ok(Err(error)) | Err(error) => {
                        warn!("{interface}: no requests come in: {error}");
                    }
                    Ok(Ok(())) => {}
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// Answers the requests in the next blocks, as long as blocks are ready.
    fn answer_blocks(&mut self, orders: &Orders) {
        let Self {
            ring,
            shared,
            tally,
            mac,
            outbox,
            server,
        } = self;
        let broadcasts = shared.offers.is_some();
        let tables = shared.tables.load();
        let activity = shared.activity.memory();
        let context = AnswerContext {
            tables: &tables,
            mac: *mac,
            limits: Some((&shared.limits, buckets::now())),
            unknown_clients: shared.unknown_clients.as_ref(),
            confused: Some(&shared.confused),
            broadcasts: broadcasts
                .then(|| server.load(Ordering::Relaxed).to_be_bytes())
                .filter(|it| *it != [0; 4]),
            activity: (&activity, activity::now()),
        };
        let mut each = |received: Received<'_>| {
            let buffer = outbox.next();
            let len = restore(buffer, &received);
            if let Some(len) = answer(buffer, len, &context, received.vouched, tally)
                && outbox.push(len)
            {
                outbox.flush(tally, orders);
            }
        };
        for _ in 0..TURN {
            if !ring.read(&mut each) {
                break;
            }
        }
        outbox.flush(tally, orders);
    }
}

/// Writes the frame into `buffer` as it was on the wire, as far as it fits, and returns its length.
fn restore(buffer: &mut [u8], received: &Received<'_>) -> usize {
    let tag = received.vlan.as_ref().map_or(&[][..], |tag| &tag[..]);
    let (macs, rest) = received
        .bytes
        .split_at_checked(12)
        .unwrap_or((received.bytes, &[]));
    let mut at = 0;
    for part in [macs, tag, rest] {
        let room = buffer.get_mut(at..).unwrap_or_default();
        let held = part.len().min(room.len());
        if let (Some(room), Some(part)) = (room.get_mut(..held), part.get(..held)) {
            room.copy_from_slice(part);
        }
        at += part.len();
    }
    at
}

/// Replies that wait to be sent together.
struct Outbox {
    socket: Arc<OwnedFd>,
    buffers: Vec<[u8; FRAME]>,
    lens: [usize; BATCH],
    filled: usize,
    /// Whether the card has let the last replies wait in vain.
    is_stuck: bool,
}

impl Outbox {
    fn new(socket: Arc<OwnedFd>) -> Self {
        Self {
            socket,
            buffers: vec![[0; FRAME]; BATCH],
            lens: [0; BATCH],
            filled: 0,
            is_stuck: false,
        }
    }

    /// The buffer for the next reply.
    fn next(&mut self) -> &mut [u8] {
        self.buffers
            .get_mut(self.filled)
            .map_or(&mut [], |buffer| &mut buffer[..])
    }

    /// Takes the next buffer's first `len` bytes as a reply; true if it was the last buffer.
    fn push(&mut self, len: usize) -> bool {
        if let Some(slot) = self.lens.get_mut(self.filled) {
            *slot = len;
        }
        self.filled += 1;
        self.filled == BATCH
    }

    /// Sends all replies, unless the card takes none for long or the thread is to stop.
    fn flush(&mut self, tally: &Tally, orders: &Orders) {
        let mut sent = 0;
        while sent < self.filled {
            let (answered, failed) = match self.send(sent) {
                Ok(count) => (count, 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.wait(orders) {
                        continue;
                    }
                    (0, self.filled - sent)
                }
                // The first reply could not be sent: the interface is down, or out of buffers.
                Err(_) => (0, 1),
            };
            tally.add(ANSWERED, answered);
            tally.unsent.fetch_add(failed as u64, Ordering::Relaxed);
            sent += answered + failed;
        }
        self.filled = 0;
    }

    /// Waits until there is room to send; false if the thread is to stop, or if there is none within a
    /// second, after which clients ask again. A card that has been stuck that long, as on a paused
    /// link, gets a tenth from then on: the thread must go on giving signs of life.
    fn wait(&mut self, orders: &Orders) -> bool {
        let a_tenth = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let patience = if self.is_stuck { 1 } else { 10 };
        for _ in 0..patience {
            let mut room = [PollFd::new(&*self.socket, PollFlags::OUT)];
            match poll(&mut room, Some(&a_tenth)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    self.is_stuck = false;
                    return true;
                }
                Err(_) => return false,
            }
            if orders.is_stopping() {
                return false;
            }
        }
        self.is_stuck = true;
        false
    }

    /// Sends the replies from number `first` on and returns how many went out.
    fn send(&self, first: usize) -> io::Result<usize> {
        let mut parts = [[IoSlice::new(&[])]; BATCH];
        let replies = self.buffers.iter().zip(&self.lens).skip(first);
        for (part, (buffer, &len)) in parts.iter_mut().zip(replies) {
            *part = [IoSlice::new(buffer.get(..len).unwrap_or_default())];
        }
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut messages: Vec<_> = parts
            .iter()
            .zip(&mut controls)
            .take(self.filled - first)
            .map(|(part, control)| MMsgHdr::new(part, control))
            .collect();
        Ok(sendmmsg(&*self.socket, &mut messages, SendFlags::DONTWAIT)?)
    }
}
