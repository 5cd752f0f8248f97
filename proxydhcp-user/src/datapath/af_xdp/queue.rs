//! One queue's AF_XDP socket with its memory and its four rings. All `unsafe` of the af-xdp datapath
//! is here.
//!
//! A frame is always in exactly one place: free, in the fill ring, in the receive ring, in
//! [`Queue::inbox`] or [`Queue::outbox`], in the transmit ring, or in the completion ring.
//!
//! Safety: what the `xdp` crate asks of its callers is that neither a packet nor the socket
//! outlives the memory. The socket is declared, and so dropped, before it. Packets are only ever in the two boxes, which belong to the same owner as the memory and are
//! empty between two calls of [`Queue::turn`]; callers see a packet by reference alone.

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

/// How often the kernel is asked to transmit a batch before it waits for the next turn.
const MAX_KICKS: u32 = 100;

/// A socket that other threads may ask for its counts.
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
    /// Requests lost because no frame was free, or the receive ring was full.
    pub(super) fn lost(&self) -> u64 {
        self.0.statistics().map_or(0, |statistics| {
            statistics.rx_dropped + statistics.rx_ring_full
        })
    }

    /// Whether the driver puts frames right into this socket's memory.
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

/// What becomes of a received packet.
pub(super) enum Outcome {
    /// It is a reply now.
    Transmit,
    /// It is not answered.
    Free,
}

/// What a turn has come to, in packets.
pub(super) struct Turn {
    pub(super) received: usize,
    /// Replies that the interface took, those that waited before included.
    pub(super) sent: usize,
    /// Replies that it took and dropped, as a link without a carrier does.
    pub(super) refused: usize,
}

/// The socket, its memory and its rings.
pub(super) struct Queue {
    inbox: HeapSlab,
    outbox: HeapSlab,
    /// Replies in the transmit ring that the kernel has not taken.
    waiting: usize,
    /// These, and those that it has taken and not given back.
    leaving: usize,
    rings: WakableRings,
    /// Nobody else keeps it for long, so it is closed before its memory goes.
    socket: Arc<Socket>,
    umem: Umem,
}

impl Queue {
    /// Opens queue number `queue` of an interface with `frames` frames of memory, a power of two;
    /// the fill ring has them all from the start.
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
        // directions, and only where they are wanted; so none is given by hand but to transmit.
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

    /// Replies that the interface has not taken: they are offered to it in each turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Replies whose frames are yet to come back. Until they do, there is less to receive into, and
    /// nothing tells when they have.
    pub(super) fn leaving(&self) -> usize {
        self.leaving
    }

    /// Receives a batch, has `each` packet answered, and transmits the replies.
    pub(super) fn turn(&mut self, mut each: impl FnMut(&mut Packet) -> Outcome) -> Turn {
        let received = match &mut self.rings.rx_ring {
            // SAFETY: see the module.
            Some(ring) => unsafe { ring.recv(&self.umem, &mut self.inbox) },
            None => 0,
        };
        while let Some(mut packet) = self.inbox.pop_back() {
            let left = match each(&mut packet) {
                // As many fit as the inbox holds.
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

    /// Has the kernel take what waits, as far as it does. Returns how many frames it has sent, and
    /// how many dropped.
    fn transmit(&mut self) -> (usize, usize) {
        if let Some(ring) = &mut self.rings.tx_ring {
            // SAFETY: see the module. Without a wake-up there is no system call that could fail.
            let queued = unsafe { ring.send(&mut self.outbox, false) }.unwrap_or(0);
            self.waiting += queued;
            self.leaving += queued;
        }
        // The ring has a place for each frame there is.
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
                // One was dropped on the way out, and those behind it wait.
                Err(Errno::BUSY) if refused < self.waiting => refused += 1,
                Err(_) => break,
                // All that there was.
                Ok(_) => {
                    self.waiting = 0;
                    return (offered - refused, refused);
                }
            }
        }
        self.waiting -= refused;
        (0, refused)
    }

    /// Gives frames that were transmitted, or never used, back to the kernel to receive into.
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
