//! Access to the bytes of a frame.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;

/// An Ethernet frame, as held by the XDP program or by user space.
///
/// Offsets are in bytes from the frame's first byte (the destination MAC).
pub trait Frame {
    /// The frame's length in bytes, trailers and padding included.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `len` bytes at `offset`; `None` if the frame is too short.
    fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]>;

    /// The `len` bytes at `offset`, mutable; `None` if the frame is too short.
    fn bytes_mut(&mut self, offset: usize, len: usize) -> Option<&mut [u8]>;

    /// The `N` bytes at `offset`; `None` if the frame is too short.
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.bytes(offset, N)?.first_chunk()
    }

    /// The `N` bytes at `offset`, mutable; `None` if the frame is too short.
    #[inline(always)]
    fn at_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.bytes_mut(offset, N)?.first_chunk_mut()
    }

    /// The header at `offset`; `None` if the frame is too short.
    #[inline(always)]
    fn header<H>(&self, offset: usize) -> Option<&H>
    where
        H: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        H::ref_from_bytes(self.bytes(offset, size_of::<H>())?).ok()
    }

    /// The header at `offset`, mutable; `None` if the frame is too short.
    #[inline(always)]
    fn header_mut<H>(&mut self, offset: usize) -> Option<&mut H>
    where
        H: FromBytes + IntoBytes + KnownLayout + Unaligned,
    {
        H::mut_from_bytes(self.bytes_mut(offset, size_of::<H>())?).ok()
    }

    /// Returns `offset`, which was computed from the packet's own bytes, unchanged. The XDP program
    /// uses this to show the verifier its upper bound, [`MAX_OFFSET`].
    #[inline(always)]
    fn bound(&self, offset: usize) -> usize {
        offset
    }

    /// Adds the `N` bytes at the even `offset` to `sum`; `None` if the frame is too short.
    fn add_block<const N: usize>(&self, sum: Sum, offset: usize) -> Option<Sum> {
        Some(sum.block(self.at::<N>(offset)?))
    }

    /// Adds the `len` bytes at the even `offset` to `sum`; `None` if the frame is too short. At
    /// least eight bytes of the frame precede them.
    fn add(&self, sum: Sum, offset: usize, len: usize) -> Option<Sum>;

    /// Makes the frame `len` bytes long, by cutting its end or appending bytes of any value.
    ///
    /// # Errors
    ///
    /// If the frame's memory has no room: [`NoRoom`]. The frame is then unchanged.
    fn resize(&mut self, len: usize) -> Result<(), NoRoom>;
}

/// The upper bound of offsets into a plain request (see [`crate::judge::MAX_PLAIN`]). It is a mask,
/// so that a single instruction shows it to the verifier.
pub const MAX_OFFSET: usize = 0x7ff;

/// The error that a frame's memory cannot hold the requested length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// A frame in a buffer in user space, which limits the frame's growth.
#[derive(Debug)]
pub struct Slice<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Slice<'a> {
    /// The frame in the first `len` bytes of `buffer`; `None` if the buffer is shorter.
    pub fn new(buffer: &'a mut [u8], len: usize) -> Option<Self> {
        (len <= buffer.len()).then_some(Self { buffer, len })
    }

    /// All of the frame.
    pub fn all(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// All of the frame, to write to.
    pub fn all_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.len).unwrap_or_default()
    }
}

impl Frame for Slice<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        self.all().get(offset..)?.get(..len)
    }

    fn bytes_mut(&mut self, offset: usize, len: usize) -> Option<&mut [u8]> {
        self.all_mut().get_mut(offset..)?.get_mut(..len)
    }

    fn add(&self, sum: Sum, offset: usize, len: usize) -> Option<Sum> {
        Some(sum.bytes(self.bytes(offset, len)?))
    }

    fn resize(&mut self, len: usize) -> Result<(), NoRoom> {
        if len > self.buffer.len() {
            return Err(NoRoom);
        }
        self.len = len;
        Ok(())
    }
}
