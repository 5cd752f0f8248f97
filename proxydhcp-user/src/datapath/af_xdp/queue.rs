//! One queue's AF_XDP socket with its memory and its four rings. All `unsafe` of the af-xdp datapath
//! is here.
//!
//! A frame is always in exactly one place: free, in the fill ring, in the receive ring, in
//! [`Queue::inbox`] or [`Queue::outbox`], in the transmit ring, or in the completion ring.
//!
//! Safety: the `xdp` crate requires that neither a packet nor the socket outlives the memory. The
//! socket is declared, and so dropped, before it. Packets are only ever in the two boxes, which
//! belong to the same owner as the memory and are empty between two calls of [`Queue::turn`];
//! callers see packets only by reference.

use std::ffi::c_int;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use xdp::nic::NicIndex;
use xdp::slab::{HeapSlab, Slab};
use xdp::socket::{XdpSocket, XdpSocketBuilder};
use xdp::umem::{FrameSize, UmemCfgBuilder};
use xdp::{Packet, RingConfigBuilder, Umem, WakableRings};

/// Frames handled in one turn.
const BATCH: usize = 64;

/// How often the kernel is asked to transmit a batch before the next turn.
const MAX_KICKS: u32 = 100;

/// A socket whose counts other threads may read.
pub(super) struct Socket(XdpSocket);

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as this is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

impl Socket {
    /// The number of requests lost because no frame was free or the receive ring was full.
    pub(super) fn lost(&self) -> u64 {
        self.0.statistics().map_or(0, |statistics| {
            statistics.rx_dropped + statistics.rx_ring_full
        })
    }

    /// Whether the driver writes frames directly into this socket's memory.
    pub(super) fn is_zero_copy(&self) -> bool {
        const XDP_OPTIONS: c_int = 8;
        const ZERO_COPY: u32 = 1;
        let mut options = 0u32;
        #[expect(clippy::cast_possible_truncation, reason = "4")]
        let mut len = size_of::<u32>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes of the number.
        let result = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_XDP,
                XDP_OPTIONS,
                ptr::from_mut(&mut options).cast(),
                &raw mut len,
            )
        };
        result == 0 && options & ZERO_COPY != 0
    }
}

/// What to do with a received packet.
pub(super) enum Outcome {
    /// Transmit it; it has become a reply.
    Transmit,
    /// Free its frame; it is not answered.
    Free,
}

/// The results of a turn, in packets.
pub(super) struct Turn {
    pub(super) received: usize,
    /// Replies that the interface took, including those that waited before.
    pub(super) sent: usize,
    /// Replies that it took and dropped, as a link without carrier does.
    pub(super) refused: usize,
}

/// The socket, its memory and its rings.
pub(super) struct Queue {
    inbox: HeapSlab,
    outbox: HeapSlab,
    /// The number of replies in the transmit ring that the kernel has not taken.
    waiting: usize,
    /// The number of these, plus those that it has taken and not yet returned.
    leaving: usize,
    rings: WakableRings,
    /// No other owner keeps it for long, so it is closed before its memory is unmapped.
    socket: Arc<Socket>,
    umem: Umem,
}

impl Queue {
    /// Opens the socket of queue `queue` of an interface, with `frames` frames of memory, a power
    /// of two. All of them start in the fill ring.
    pub(super) fn open(interface: u32, queue: u32, frames: u32) -> Result<Self> {
        let memory = UmemCfgBuilder {
            frame_size: FrameSize::TwoK,
            frame_count: frames,
            ..UmemCfgBuilder::default()
        };
        let mut umem = Umem::map(memory.build()?).context("no memory for packets")?;
        let sizes = RingConfigBuilder {
            rx_count: frames,
            tx_count: frames,
            fill_count: frames,
            completion_count: frames,
        };
        let mut builder = XdpSocketBuilder::new()?;
        // The socket asks for wake-ups where the driver wants them. `poll` gives them for both
        // directions, and only where they are wanted, so only transmission is ever woken
        // explicitly.
        let (mut rings, flags) = builder.build_wakable_rings(&umem, sizes.build()?)?;
        // SAFETY: see the module.
        unsafe { rings.fill_ring.enqueue(&mut umem, frames as usize, false) }?;
        let socket = builder.bind(NicIndex::new(interface), queue, flags)?;
        Ok(Self {
            inbox: HeapSlab::with_capacity(BATCH),
            outbox: HeapSlab::with_capacity(BATCH),
            waiting: 0,
            leaving: 0,
            rings,
            umem,
            socket: Arc::new(Socket(socket)),
        })
    }

    pub(super) fn socket(&self) -> Arc<Socket> {
        Arc::clone(&self.socket)
    }

    /// The number of replies that the interface has not taken. Each turn offers them again.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The number of replies whose frames have not come back. Until they do, there is less room to
    /// receive, and no event announces their return.
    pub(super) fn leaving(&self) -> usize {
        self.leaving
    }

    /// Receives a batch, lets `each` answer the packets, and transmits the replies.
    pub(super) fn turn(&mut self, mut each: impl FnMut(&mut Packet) -> Outcome) -> Turn {
        let received = match &mut self.rings.rx_ring {
            // SAFETY: see the module.
            Some(ring) => unsafe { ring.recv(&self.umem, &mut self.inbox) },
            None => 0,
        };
        while let Some(mut packet) = self.inbox.pop_back() {
            let left = match each(&mut packet) {
                // The outbox has room for as many packets as the inbox.
                Outcome::Transmit => self.outbox.push_front(packet),
                Outcome::Free => Some(packet),
            };
            if let Some(packet) = left {
                self.umem.free_packet(packet);
            }
        }
        let (sent, refused) = self.transmit();
        self.recycle();
        Turn {
            received,
            sent,
            refused,
        }
    }

    /// Lets the kernel take waiting replies, as far as it does. Returns the numbers of frames sent
    /// and dropped.
    fn transmit(&mut self) -> (usize, usize) {
        if let Some(ring) = &mut self.rings.tx_ring {
            // SAFETY: see the module. Without a wake-up there is no system call that could fail.
            let queued = unsafe { ring.send(&mut self.outbox, false) }.unwrap_or(0);
            self.waiting += queued;
            self.leaving += queued;
        }
        // The transmit ring has a place for every frame.
        debug_assert!(self.outbox.is_empty(), "the transmit ring was full");
        let offered = self.waiting;
        let mut refused = 0;
        // The kernel takes a few dozen frames at a time; a link that is paused takes none.
        for _ in 0..MAX_KICKS {
            if self.waiting == 0 {
                break;
            }
            match send(&*self.socket, &[], SendFlags::DONTWAIT) {
                Err(Errno::AGAIN | Errno::INTR) => self.recycle(),
                // A frame was dropped on its way out, and those behind it still wait.
                Err(Errno::BUSY) if refused < self.waiting => refused += 1,
                Err(_) => break,
                // The kernel has taken everything.
                Ok(_) => {
                    self.waiting = 0;
                    return (offered - refused, refused);
                }
            }
        }
        self.waiting -= refused;
        (0, refused)
    }

    /// Returns frames that were transmitted or never used to the kernel, to receive into.
    fn recycle(&mut self) {
        let done = &mut self.rings.completion_ring;
        loop {
            let back = done.dequeue(&mut self.umem, BATCH);
            self.leaving = self.leaving.saturating_sub(back);
            if back < BATCH {
                break;
            }
        }
        let free = self.umem.allocatable();
        // SAFETY: see the module. Without a wake-up there is no system call that could fail.
        let _ = unsafe { self.rings.fill_ring.enqueue(&mut self.umem, free, false) };
    }
}
