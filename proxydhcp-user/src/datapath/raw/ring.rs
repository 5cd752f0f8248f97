//! An AF_PACKET receive ring (TPACKET_V3, see `packet_mmap` in the kernel's documentation). All
//! `unsafe` of the raw datapath is here.
//!
//! The ring is a row of blocks in memory shared with the kernel. The kernel fills a block with
//! frames, one behind the other. When the block is full, or [`BLOCK_TIMEOUT_MS`] after its first
//! frame however few it holds, the kernel hands it over by its status word. Giving the block back
//! is one store to the same word.
//!
//! So while the ring is not read, it holds a trickle for the time of all its blocks, and a storm
//! for the bytes of all its blocks.
//!
//! Safety: the status word is the only memory that both sides write, and is accessed as an atomic.
//! Between the kernel's hand-over (seen with acquire order) and ours (done with release order) the
//! block is ours alone, and no reference into it outlives that. Every offset that the kernel wrote
//! is still checked against the block's end.

#![allow(
    clippy::cast_possible_truncation,
    reason = "sizes and constants in the kernel's narrower types"
)]

use std::ffi::{c_int, c_uint};
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use socket2::SockFilter;

use crate::sys::packet_socket;

/// How much a ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// 16 MiB, for all requests there are: room for 23,000 of the longest kind (590 bytes and 110 for
    /// the kernel's notes), more than a burst of 20,000, and for half a second of whatever comes
    /// slower than a block in [`BLOCK_TIMEOUT_MS`].
    All,
    /// 512 KiB, for the few that an XDP program leaves: room for 700 of them, and for 64 ms of
    /// whatever comes slower.
    Rest,
}

impl Room {
    /// A block's size in bytes.
    const fn block(self) -> usize {
        match self {
            Self::All => 1 << 15,
            Self::Rest => 1 << 13,
        }
    }

    const fn blocks(self) -> usize {
        match self {
            Self::All => 512,
            Self::Rest => 64,
        }
    }
}

/// How long a lone request waits for others, in milliseconds.
const BLOCK_TIMEOUT_MS: c_uint = 1;

/// A frame as it was received.
#[derive(Debug)]
pub(super) struct Received<'r> {
    /// Its bytes, without the outer VLAN tag.
    pub(super) bytes: &'r [u8],
    /// The outer VLAN tag, which the kernel removes: protocol and control information.
    pub(super) vlan: Option<[u8; 4]>,
    /// Whether the UDP checksum is not filled in yet, because the sender is on this machine. What
    /// the kernel says of finished checksums is not used: older kernels mean "there is a sum" by
    /// "valid".
    pub(super) vouched: bool,
}

/// A ring that receives the requests arriving on one interface.
#[derive(Debug)]
pub(super) struct Ring {
    socket: Arc<OwnedFd>,
    memory: MmapRaw,
    room: Room,
    next: usize,
}

impl Ring {
    /// Opens a ring on the interface with this index, for the frames that `filter` keeps.
    pub(super) fn open(interface: u32, room: Room, filter: &[SockFilter]) -> io::Result<Self> {
        let socket = OwnedFd::from(packet_socket::unbound(filter)?);
        let version = libc::tpacket_versions::TPACKET_V3 as c_int;
        set(&socket, libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        // Our own replies are ignored. Linux 4.20.
        set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
        let request = libc::tpacket_req3 {
            tp_block_size: room.block() as c_uint,
            tp_block_nr: room.blocks() as c_uint,
            // Frames lie as close as they are long; this only bounds their number.
            tp_frame_size: 2048,
            tp_frame_nr: (room.block() / 2048 * room.blocks()) as c_uint,
            tp_retire_blk_tov: BLOCK_TIMEOUT_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let memory = MmapOptions::new()
            .len(room.block() * room.blocks())
            .map_raw(socket.as_raw_fd())?;
        packet_socket::bind(&socket, interface, libc::ETH_P_ALL)?;
        Ok(Self {
            socket: Arc::new(socket),
            memory,
            room,
            next: 0,
        })
    }

    /// The socket, to wait on, to send with and to ask for [`lost`] frames.
    pub(super) fn socket(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.socket)
    }

    /// Calls `each` with the frames of the next block, and gives the block back; false if none is
    /// ready.
    pub(super) fn read(&mut self, mut each: impl FnMut(Received<'_>)) -> bool {
        const STATUS: usize = offset_of!(libc::tpacket_block_desc, hdr)
            + offset_of!(libc::tpacket_hdr_v1, block_status);
        // SAFETY: `next` is less than the number of blocks, so the block lies within the ring's memory.
        let block = unsafe { self.memory.as_mut_ptr().add(self.next * self.room.block()) };
        // SAFETY: the status word, aligned as the block is, lives as long as the memory.
        let status = unsafe { AtomicU32::from_ptr(block.add(STATUS).cast()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return false;
        }
        // SAFETY: the block is ours until the store below, and none of it is written meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts(block, self.room.block()) };
        for_each(bytes, &mut each);
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.room.blocks();
        true
    }
}

/// Iterates over a block's frames.
fn for_each(block: &[u8], each: &mut impl FnMut(Received<'_>)) {
    const HEADER: usize = offset_of!(libc::tpacket_block_desc, hdr);
    let Some(header) = copy::<libc::tpacket_hdr_v1>(block, HEADER) else {
        return;
    };
    let mut at = header.offset_to_first_pkt as usize;
    for _ in 0..header.num_pkts {
        let Some(frame) = copy::<libc::tpacket3_hdr>(block, at) else {
            return;
        };
        let start = at + usize::from(frame.tp_mac);
        if let Some(bytes) = block
            .get(start..)
            .and_then(|rest| rest.get(..frame.tp_snaplen as usize))
        {
            let has = |flag| frame.tp_status & flag != 0;
            each(Received {
                bytes,
                vlan: has(libc::TP_STATUS_VLAN_VALID).then(|| tag(&frame.hv1)),
                vouched: has(libc::TP_STATUS_CSUMNOTREADY),
            });
        }
        at += frame.tp_next_offset as usize;
    }
}

/// A tag as it was on the wire; 802.1Q if the kernel does not give the protocol.
fn tag(vlan: &libc::tpacket_hdr_variant1) -> [u8; 4] {
    let protocol = match vlan.tp_vlan_tpid {
        0 => 0x8100,
        protocol => protocol,
    };
    // The control information is 16 bits in a wider field.
    let control = vlan.tp_vlan_tci as u16;
    let ([a, b], [c, d]) = (protocol.to_be_bytes(), control.to_be_bytes());
    [a, b, c, d]
}

/// Copies a header that the kernel wrote at `offset`; `None` past the end.
fn copy<T: Copy>(block: &[u8], offset: usize) -> Option<T> {
    let bytes = block.get(offset..)?.get(..size_of::<T>())?;
    // SAFETY: the bytes are as many as T has. T is one of the kernel's structures of plain
    // integers, for which all bits are valid, and is read unaligned.
    Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) })
}

fn set<T>(socket: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads the value's bytes, as many as it has.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The number of frames lost since the last call because the ring was full.
pub(super) fn lost(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats_v3 {
        tp_packets: 0,
        tp_drops: 0,
        tp_freeze_q_cnt: 0,
    };
    let mut len = size_of::<libc::tpacket_stats_v3>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes of the structure.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            ptr::from_mut(&mut statistics).cast(),
            &raw mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(statistics.tp_drops)
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
