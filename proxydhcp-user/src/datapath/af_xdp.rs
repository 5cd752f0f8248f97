//! The `af-xdp` datapath: a thread per queue answers the requests that the XDP program redirects
//! into its socket, in place, and transmits the replies on the same queue.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak, mpsc};

use anyhow::{Context, Result};
use proxydhcp_common::counters::{ANSWERED, COUNTERS, Counts, QUEUES};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::warn;
use xdp::Packet;

use crate::datapath::Shared;
use crate::datapath::activity;
use crate::datapath::answer::{AnswerContext, Tally, answer};
use crate::datapath::packet_thread::{Orders, PacketThread};
use crate::datapath::xdp::Program;
use crate::sys::ethtool::{Driver, Queues};
use crate::sys::interface::Interface;
use crate::sys::privileges;

mod queue;

use queue::{Outcome, Queue, Socket};

/// The number of 2 KiB frames for all queues of an interface together, 128 MiB: with four queues, a
/// storm of 10,000 requests fits into any one of them, however late its thread runs. There are more if a
/// queue would otherwise get less than 2,048 of them.
const FRAMES: u32 = 1 << 16;

/// How many batches are taken before the thread checks for orders: a flood has no end.
const TURNS: u32 = 64;

/// How long to wait before replies that have not gone out are offered again, if no request comes.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// The datapath on one interface. Dropping it stops the threads.
pub struct AfXdpDatapath {
    /// By the number of the queue.
    workers: Vec<Worker>,
}

struct Worker {
    /// Owned by the thread: if the thread ends, its socket closes, and the XDP program lets
    /// requests pass.
    socket: Weak<Socket>,
    tally: Arc<Tally>,
    thread: PacketThread,
}

impl AfXdpDatapath {
    /// Opens a socket on every queue of the interface by which it both receives and transmits, gives
    /// them to the program, which is not attached there yet, and starts their threads.
    ///
    /// # Errors
    ///
    /// If a socket, its memory or a thread cannot be created, mostly for lack of privileges or of
    /// lockable memory, or if the program does not accept the socket.
    pub fn start(
        interface: &Interface,
        program: &mut Program,
        shared: &Arc<Shared>,
    ) -> Result<Self> {
        let Queues { receive, transmit } = queues(interface);
        let queues = receive.min(transmit).min(QUEUES);
        let frames = (FRAMES / queues)
            .checked_next_power_of_two()
            .unwrap_or(FRAMES)
            .clamp(1 << 11, 1 << 14);
        let mut workers = Vec::new();
        for queue in 0..queues {
            let (worker, socket) = Worker::start(interface, queue, frames, Arc::clone(shared))
                .with_context(|| {
                    format!(
                        "no AF_XDP on queue {queue} of {} (it takes root, or CAP_NET_RAW, and \
                         CAP_IPC_LOCK or a larger `ulimit -l`)",
                        interface.name
                    )
                })?;
            program.set_socket(interface.index, queue, socket.as_raw_fd())?;
            workers.push(worker);
        }
        Ok(Self { workers })
    }

    /// The number of queues whose requests the program lets pass, because they have no socket. Some
    /// drivers receive by more queues while a program is attached, and transmit by these only what
    /// the program itself sends (`virtio_net`).
    pub fn uncovered(&self, interface: &Interface) -> usize {
        let receive = usize::try_from(queues(interface).receive).unwrap_or(usize::MAX);
        receive.saturating_sub(self.workers.len())
    }

    /// The threads that answer, one for each queue.
    pub(crate) fn threads(&self) -> impl Iterator<Item = &PacketThread> {
        self.workers.iter().map(|worker| &worker.thread)
    }

    /// The counts of the requests that reached the sockets.
    pub fn counts(&self) -> Counts {
        let mut sum = [0; COUNTERS];
        for worker in &self.workers {
            for (sum, count) in sum.iter_mut().zip(worker.tally.counts()) {
                *sum += count;
            }
        }
        sum
    }

    /// The number of replies that the interface has not taken.
    pub fn unsent(&self) -> u64 {
        let unsent = |worker: &Worker| worker.tally.unsent.load(Ordering::Relaxed);
        self.workers.iter().map(unsent).sum()
    }

    /// The number of requests lost because a socket had no room.
    pub fn lost(&self) -> u64 {
        self.sockets().map(|socket| socket.lost()).sum()
    }

    /// Whether the driver and all sockets share their memory (zero copy).
    pub fn is_zero_copy(&self) -> bool {
        self.sockets().all(|socket| socket.is_zero_copy())
    }

    fn sockets(&self) -> impl Iterator<Item = Arc<Socket>> {
        self.workers
            .iter()
            .filter_map(|worker| worker.socket.upgrade())
    }
}

impl Drop for AfXdpDatapath {
    fn drop(&mut self) {
        // All threads are stopped before any is waited for, because the kernel closes a socket
        // slowly.
        self.threads().for_each(PacketThread::stop);
    }
}

/// The queues of an interface, of which there is at least one each.
fn queues(interface: &Interface) -> Queues {
    let reported = Driver::of(interface.index).and_then(|driver| driver.queues());
    // Drivers that report no queues have one.
    let Queues { receive, transmit } = reported.unwrap_or(Queues {
        receive: 1,
        transmit: 1,
    });
    Queues {
        receive: receive.max(1),
        transmit: interface.transmit_queues().unwrap_or(transmit).max(1),
    }
}

impl Worker {
    fn start(
        interface: &Interface,
        queue: u32,
        frames: u32,
        shared: Arc<Shared>,
    ) -> Result<(Self, Arc<Socket>)> {
        let tally = Arc::new(Tally::default());
        let counted = Arc::clone(&tally);
        let (index, mac) = (interface.index, interface.mac);
        let (opened, socket) = mpsc::channel();
        let name = format!("xdp-{}-{queue}", interface.name);
        // The memory belongs to the thread from the start, because its pointers cannot be sent to
        // another.
        let thread = PacketThread::start(name, move |orders| {
            let queue = match Queue::open(index, queue, frames) {
                Ok(queue) => queue,
                Err(error) => {
                    // There is no receiver if opening an earlier queue has failed.
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            privileges::give_up();
            let socket = queue.socket();
            let _ = opened.send(Ok(Arc::clone(&socket)));
            run(queue, &socket, orders, &shared, mac, &counted);
        })?;
        let socket = socket.recv().context("the thread ended")??;
        let worker = Self {
            socket: Arc::downgrade(&socket),
            tally,
            thread,
        };
        Ok((worker, socket))
    }
}

fn run(
    mut queue: Queue,
    socket: &Socket,
    orders: &Orders,
    shared: &Shared,
    mac: [u8; 6],
    tally: &Tally,
) {
    let mut refused = 0;
    loop {
        let mut ready = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(orders, PollFlags::IN),
        ];
        // Replies that the interface did not take are offered again, and frames that it has sent
        // are recycled.
        let patience = (queue.leaving() > 0).then_some(&RETRY);
        if let Err(error) = poll(&mut ready, patience)
            && error != rustix::io::Errno::INTR
        {
            warn!("cannot wait for requests: {error}");
            return;
        }
        let [_, told] = ready.map(|ready| ready.revents());
        if !told.is_empty() && orders.stop() {
            return;
        }
        for _ in 0..TURNS {
            let generation = shared.tables.load();
            let activity = shared.activity.memory();
            let context = AnswerContext {
                tables: &generation,
                mac,
                limits: None,
                unknown_clients: shared.unknown_clients.as_ref(),
                confused: Some(&shared.confused),
                broadcasts: None,
                activity: (&activity, activity::now()),
            };
            let turn = queue.turn(|packet| match answer_packet(packet, &context, tally) {
                Some(()) => Outcome::Transmit,
                None => Outcome::Free,
            });
            tally.add(ANSWERED, turn.sent);
            refused += turn.refused as u64;
            let unsent = refused + queue.waiting() as u64;
            tally.unsent.store(unsent, Ordering::Relaxed);
            if turn.received == 0 {
                break;
            }
        }
    }
}

/// Turns the packet into its reply, in place; `None` if there is none, the reason for which is
/// counted.
fn answer_packet(packet: &mut Packet, context: &AnswerContext<'_>, tally: &Tally) -> Option<()> {
    let len = packet.len();
    // Grows the packet to its full capacity, and then cuts it to the reply's length; neither fails.
    let spare = i32::try_from(packet.capacity() - len).ok()?;
    packet.adjust_tail(spare).ok()?;
    let reply = answer(packet, len, context, false, tally)?;
    let surplus = i32::try_from(packet.len() - reply).ok()?;
    packet.adjust_tail(-surplus).ok()
}
