//! Where the packets of all clients come in, a window at a time.

use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};

/// The bytes of a data packet before its data.
const HEADER: usize = 4;

/// Room for the packets of a window.
pub(super) struct Inbox {
    headers: MultiHeaders<SockaddrIn>,
    room: Vec<u8>,
    /// The longest packet, and one byte more.
    packet: usize,
    lengths: Vec<usize>,
}

impl Inbox {
    /// The most packets that it takes at once.
    pub(super) const MOST: usize = 64;

    /// For blocks of this size, in bytes.
    pub(super) fn new(block_size: u16) -> Self {
        // Other packets, such as errors, may be longer than small blocks.
        let packet = HEADER + usize::from(block_size).max(512) + 1;
        Self {
            headers: MultiHeaders::preallocate(Self::MOST, None),
            room: vec![0; Self::MOST * packet],
            packet,
            lengths: Vec::with_capacity(Self::MOST),
        }
    }

    /// Takes the packets that have come, up to `most`.
    ///
    /// # Errors
    /// The system's, other than that there are none.
    pub(super) fn receive(&mut self, socket: &UdpSocket, most: usize) -> io::Result<()> {
        self.lengths.clear();
        let packets = self.room.chunks_exact_mut(self.packet);
        let mut slices: Vec<_> = packets.take(most).map(|it| [IoSliceMut::new(it)]).collect();
        let fd = socket.as_raw_fd();
        match recvmmsg(
            fd,
            &mut self.headers,
            &mut slices,
            MsgFlags::MSG_DONTWAIT,
            None,
        ) {
            Ok(received) => self.lengths.extend(received.map(|it| it.bytes)),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What was taken.
    pub(super) fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let packets = self.room.chunks_exact(self.packet).zip(&self.lengths);
        packets.filter_map(|(packet, length)| packet.get(..*length))
    }
}
