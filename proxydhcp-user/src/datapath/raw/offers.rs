//! The thread that makes offers: one per interface, over a ring of its own, which gets a copy of each
//! packet to port 67. Whoever else the packet is for gets it all the same.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proxydhcp_common::counters::{LIMITED, PASSED, RECEIVED, refused};
use proxydhcp_common::frame::{Frame, Slice};
use proxydhcp_common::slow_path::offer::{Declined, Offering, SERVER_PORT, offer};
use proxydhcp_common::verdict::Stop;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::warn;

use super::{FRAME, Outbox, Ring, Room, TURN, restore, ring};
use crate::api::status::{Counters, OfferStatus};
use crate::datapath::Shared;
use crate::datapath::activity;
use crate::datapath::answer::{AnswerContext, Tally};
use crate::datapath::buckets;
use crate::datapath::packet_thread::{Orders, PacketThread};
use crate::sys::interface::Interface;
use crate::sys::{packet_filter, privileges};
use crate::tables::policy::Offers;

/// The most offers that wait for their time.
const WAITING: usize = 50_000;

/// The offers on one interface. Dropping them stops the thread.
#[derive(Debug)]
pub struct OfferDatapath {
    counts: Arc<Counts>,
    /// The interface's first address.
    server: Arc<AtomicU32>,
    lost: AtomicU64,
    socket: Arc<std::os::fd::OwnedFd>,
    thread: PacketThread,
}

#[derive(Debug, Default)]
struct Counts {
    tally: Tally,
    http: AtomicU64,
    ipxe: AtomicU64,
}

impl OfferDatapath {
    /// Opens a ring, and starts the thread.
    ///
    /// # Errors
    ///
    /// If the ring or the thread cannot be created.
    pub(crate) fn start(
        interface: &Interface,
        offers: Offers,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let name = &interface.name;
        let ring = Ring::open(
            interface.index,
            Room::All,
            &packet_filter::to_port(SERVER_PORT),
        )
        .with_context(|| format!("cannot open a packet ring for offers on {name}"))?;
        let socket = ring.socket();
        let counts = Arc::new(Counts::default());
        let server = Arc::new(AtomicU32::new(first(&interface.addresses)));
        let worker = Worker {
            ring,
            offers,
            shared,
            counts: Arc::clone(&counts),
            server: Arc::clone(&server),
            mac: interface.mac,
            outbox: Outbox::new(Arc::clone(&socket)),
            waiting: VecDeque::new(),
        };
        let interface = name.clone();
        let thread = PacketThread::start(format!("offers-{name}"), move |orders| {
            privileges::give_up();
            worker.run(&interface, orders);
        })?;
        Ok(Self {
            counts,
            server,
            lost: AtomicU64::new(0),
            socket,
            thread,
        })
    }

    /// The interface has these addresses now.
    pub(crate) fn readdress(&self, addresses: &[Ipv4Addr]) {
        self.server.store(first(addresses), Ordering::Relaxed);
    }

    /// The thread that offers.
    pub(crate) fn thread(&self) -> &PacketThread {
        &self.thread
    }

    pub(crate) fn status(&self) -> OfferStatus {
        use std::os::fd::AsFd;
        let now = ring::lost(self.socket.as_fd()).unwrap_or(0);
        let before = self.lost.fetch_add(now.into(), Ordering::Relaxed);
        let Counts { tally, http, ipxe } = &*self.counts;
        OfferStatus {
            counters: Counters {
                unsent: tally.unsent.load(Ordering::Relaxed),
                lost: before + u64::from(now),
                ..Counters::new(&tally.counts())
            },
            http: http.load(Ordering::Relaxed),
            ipxe: ipxe.load(Ordering::Relaxed),
        }
    }
}

/// The first address as a number; 0 if there is none.
pub(super) fn first(addresses: &[Ipv4Addr]) -> u32 {
    addresses.first().map_or(0, |first| (*first).into())
}

/// The state that the thread owns.
struct Worker {
    ring: Ring,
    offers: Offers,
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    server: Arc<AtomicU32>,
    mac: [u8; 6],
    outbox: Outbox,
    /// Offers that wait for their time, the first first.
    waiting: VecDeque<(Instant, Vec<u8>)>,
}

impl Worker {
    fn run(mut self, interface: &str, orders: &Orders) {
        loop {
            self.offer_blocks(orders);
            let pause = self.send_due(orders);
            let mut ready = [
                PollFd::new(&self.ring, PollFlags::IN),
                PollFd::new(orders, PollFlags::IN),
            ];
            let timeout = pause.and_then(|pause| Timespec::try_from(pause).ok());
            if let Err(error) = poll(&mut ready, timeout.as_ref())
                && error != rustix::io::Errno::INTR
            {
                warn!("{interface}: cannot wait for DISCOVERs: {error}");
                return;
            }
            let [packets, told] = ready.map(|ready| ready.revents());
            if !told.is_empty() && orders.stop() {
                return;
            }
            if packets.contains(PollFlags::ERR) {
                let error = rustix::net::sockopt::socket_error(&self.ring);
                warn!("{interface}: no DISCOVERs come in: {error:?}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// Makes offers for the DISCOVERs in the next blocks.
    fn offer_blocks(&mut self, orders: &Orders) {
        let tables = self.shared.tables.load();
        let activity = self.shared.activity.memory();
        let context = AnswerContext {
            tables: &tables,
            mac: self.mac,
            limits: Some((&self.shared.limits, buckets::now())),
            unknown_clients: None,
            confused: None,
            broadcasts: None,
            activity: (&activity, activity::now()),
        };
        let offering = Offering {
            server: self.server.load(Ordering::Relaxed).to_be_bytes(),
            mac: self.mac,
            to_all: self.offers.to_all,
        };
        if offering.server == [0; 4] {
            // It can be asked nowhere.
            while self.ring.read(|_| {}) {}
            return;
        }
        let (outbox, waiting, counts) = (&mut self.outbox, &mut self.waiting, &*self.counts);
        let delay = self.offers.delay;
        let due = Instant::now() + delay;
        for _ in 0..TURN {
            let more = self.ring.read(|received| {
                let buffer = outbox.next();
                let len = restore(buffer, &received);
                let Some(mut frame) = Slice::new(buffer, len) else {
                    return;
                };
                let made = offer(&mut frame, &context, &offering, received.vouched);
                let len = frame.len();
                if !counts.note(made) {
                    return;
                }
                if delay.is_zero() {
                    if outbox.push(len) {
                        outbox.flush(&counts.tally, orders);
                    }
                } else if waiting.len() < WAITING {
                    let frame = outbox.next().get(..len).unwrap_or_default();
                    waiting.push_back((due, frame.to_vec()));
                } else {
                    counts.tally.unsent.fetch_add(1, Ordering::Relaxed);
                }
            });
            if !more {
                break;
            }
        }
        outbox.flush(&counts.tally, orders);
    }

    /// Sends the offers whose time has come, and returns how long the next one waits.
    fn send_due(&mut self, orders: &Orders) -> Option<Duration> {
        let now = Instant::now();
        while let Some((due, frame)) = self.waiting.front() {
            if *due > now {
                break;
            }
            let room = self.outbox.next();
            let len = frame.len().min(FRAME);
            if let (Some(room), Some(frame)) = (room.get_mut(..len), frame.get(..len)) {
                room.copy_from_slice(frame);
            }
            self.waiting.pop_front();
            if self.outbox.push(len) {
                self.outbox.flush(&self.counts.tally, orders);
            }
        }
        self.outbox.flush(&self.counts.tally, orders);
        let (due, _) = self.waiting.front()?;
        Some(due.saturating_duration_since(now))
    }
}

impl Counts {
    /// Counts a packet; returns whether an offer is to be sent.
    fn note(&self, made: Result<(), Declined>) -> bool {
        let outcome = match made {
            Ok(()) => None,
            Err(Declined::Other) => return false,
            Err(Declined::Http) => {
                self.http.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            Err(Declined::Ipxe) => {
                self.ipxe.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            Err(Declined::Stop(Stop::Refuse(reason))) => Some(refused(reason)),
            Err(Declined::Stop(Stop::Limited)) => Some(LIMITED),
            Err(Declined::Stop(Stop::NotOurs | Stop::SlowPath)) => Some(PASSED),
        };
        self.tally.add(RECEIVED, 1);
        if let Some(outcome) = outcome {
            self.tally.add(outcome, 1);
        }
        outcome.is_none()
    }
}
