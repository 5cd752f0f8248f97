//! How the protocol core reaches the bytes of a frame.

use crate::checksum::Sum;

/// An Ethernet frame, as the XDP program or userspace holds it.
///
/// Offsets are in bytes from the frame's first byte (the destination MAC).
pub trait Frame {
    /// The frame's length in bytes, trailers and padding included.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `N` bytes at `offset`, or `None` where the frame is too short.
    fn at<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// The `N` bytes at `offset`, to write to, or `None` where the frame is too short.
    fn at_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;

    /// An offset that was computed from the packet's own bytes. It is returned as it is; the XDP
    /// program uses the occasion to show the verifier its upper bound, [`MAX_OFFSET`].
    #[inline(always)]
    fn bound(&self, offset: usize) -> usize {
        offset
    }

    /// The one's-complement sum of the `len` bytes at the even `offset`, or `None` where the
    /// frame is too short.
    fn sum(&self, offset: usize, len: usize) -> Option<Sum>;

    /// Makes the frame `len` bytes long, cutting its end or adding bytes of any value to it.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when the frame's memory has no room for it; the frame is unchanged.
    fn resize(&mut self, len: usize) -> Result<(), NoRoom>;
}

/// No offset into a plain request exceeds this (see [`crate::judge::MAX_PLAIN`]): a mask, so that
/// the verifier knows it from a single instruction.
pub const MAX_OFFSET: usize = 0x7ff;

/// A frame's memory cannot hold the length asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// A frame in a buffer of userspace: the buffer is what the frame may grow to.
#[derive(Debug)]
pub struct Slice<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Slice<'a> {
    /// The frame that `buffer`'s first `len` bytes hold, or `None` where it has not so many.
    pub fn new(buffer: &'a mut [u8], len: usize) -> Option<Self> {
        (len <= buffer.len()).then_some(Self { buffer, len })
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// The frame's bytes, to write to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.len).unwrap_or_default()
    }
}

impl Frame for Slice<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn at<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.bytes().get(offset..)?.first_chunk()
    }

    fn at_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.bytes_mut().get_mut(offset..)?.first_chunk_mut()
    }

    fn sum(&self, offset: usize, len: usize) -> Option<Sum> {
        let bytes = self.bytes().get(offset..)?.get(..len)?;
        Some(Sum::default().bytes(bytes))
    }

    fn resize(&mut self, len: usize) -> Result<(), NoRoom> {
        if len > self.buffer.len() {
            return Err(NoRoom);
        }
        self.len = len;
        Ok(())
    }
}
