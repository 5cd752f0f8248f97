//! Blocks of a file on their way into a socket.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;
use rustix::io::preadv;
use tokio::net::UdpSocket;
use tracing::debug;

use crate::tftp::packet::{HEADER, header};

/// The most bytes in one call: those of the largest UDP datagram, which the kernel takes apart.
const LARGEST_SEND: usize = 65_507;
/// The most datagrams that the kernel makes of one call (`UDP_MAX_SEGMENTS`, in Linux before 6.9).
const MOST_SEGMENTS: usize = 64;

thread_local! {
    /// Filled and sent without a pause, so that a thread needs only one.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A file, cut into blocks. They are numbered from 1; the last one is shorter than the others, maybe
/// empty.
#[derive(Debug)]
pub(super) struct Blocks {
    file: File,
    /// In bytes, when the transfer began.
    size: u64,
    block_size: u16,
    /// How many go into one call.
    at_once: usize,
}

impl Blocks {
    /// Cuts a file. With `joined`, whole windows are handed to the kernel in one call (UDP GSO).
    pub(super) fn new(file: File, size: u64, block_size: u16, joined: bool) -> Self {
        let packet = HEADER + usize::from(block_size);
        let at_once = if joined {
            (LARGEST_SEND / packet).clamp(1, MOST_SEGMENTS)
        } else {
            1
        };
        Self {
            file,
            size,
            block_size,
            at_once,
        }
    }

    /// The number of the last block.
    pub(super) fn last(&self) -> u64 {
        self.size / u64::from(self.block_size) + 1
    }

    /// The bytes in the first `count` blocks.
    pub(super) fn bytes(&self, count: u64) -> u64 {
        (count * u64::from(self.block_size)).min(self.size)
    }

    /// Prepares a socket to send blocks of this file.
    pub(super) fn prepare(&mut self, socket: &UdpSocket) {
        if self.at_once == 1 {
            return;
        }
        let segment = i32::from(self.block_size) + 4;
        if let Err(error) = setsockopt(socket, UdpGsoSegment, &segment) {
            debug!("blocks are sent one by one: {error}");
            self.at_once = 1;
        }
    }

    /// Sends these blocks. Returns how many the socket has taken; fewer than all if it has no more room.
    ///
    /// # Errors
    ///
    /// The file cannot be read or has become shorter, or the client's system refuses packets.
    pub(super) fn send(&mut self, socket: &UdpSocket, blocks: Range<u64>) -> io::Result<u64> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut next = blocks.start;
            while next < blocks.end {
                let end = blocks.end.min(next + self.at_once as u64);
                self.read(buffer, next..end)?;
                match socket.try_send(buffer) {
                    Ok(_) => next = end,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if self.at_once > 1 && is_about_segments(&error) => {
                        debug!("blocks are sent one by one: {error}");
                        let _ = setsockopt(socket, UdpGsoSegment, &0);
                        self.at_once = 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(next - blocks.start)
        })
    }

    /// Reads blocks into the buffer, each behind its header.
    fn read(&self, buffer: &mut Vec<u8>, blocks: Range<u64>) -> io::Result<()> {
        let before = self.bytes(blocks.start - 1);
        let bytes =
            usize::try_from(self.bytes(blocks.end - 1) - before).map_err(io::Error::other)?;
        let headers =
            usize::try_from(blocks.end - blocks.start).map_err(io::Error::other)? * HEADER;
        buffer.resize(headers + bytes, 0);
        let packets = buffer.chunks_mut(HEADER + usize::from(self.block_size));
        let mut parts = Vec::with_capacity(self.at_once);
        for (packet, block) in packets.zip(blocks) {
            let Some((head, data)) = packet.split_first_chunk_mut() else {
                continue;
            };
            *head = header(block);
            parts.push(IoSliceMut::new(data));
        }
        // From a regular file, what is there comes at once.
        if bytes > 0 && preadv(&self.file, &mut parts, before)? != bytes {
            return Err(io::Error::other(
                "the file became shorter while it was sent",
            ));
        }
        Ok(())
    }
}

/// Whether the kernel, or the network card, cannot cut a datagram into segments.
fn is_about_segments(error: &io::Error) -> bool {
    let codes = [libc::EIO, libc::EINVAL, libc::EMSGSIZE, libc::EOPNOTSUPP];
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}
