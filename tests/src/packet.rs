//! `AF_PACKET` sockets: whole frames, in batches, with the kernel's arrival stamps.
//!
//! All of the lab's socket system calls that have no safe wrapper are here.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, SockFilter, Socket, Type};

use crate::Namespace;

/// Frames handed to or taken from the kernel in one system call.
pub const BATCH: usize = 64;
/// The longest frame that a receiver takes.
const FRAME_LENGTH: usize = 2048;
/// The kernel takes an 802.1Q tag out of a received frame; this room lets it be put back.
const TAG_LENGTH: usize = 4;
/// The two hardware addresses, which stand before the tag.
const ADDRESSES_LENGTH: usize = 12;
const ETH_P_ALL: u16 = 0x0003;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` of `linux/virtio_net.h`.
const NEEDS_CHECKSUM: u8 = 1;

/// A socket that sends whole frames out of one interface and receives none.
#[derive(Debug)]
pub struct FrameSender {
    socket: Socket,
}

impl FrameSender {
    /// Opens a sender on `interface` in `namespace`.
    ///
    /// # Errors
    /// When the socket cannot be opened or there is no such interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        let socket = bound_socket(namespace, interface, 0, &[])?;
        Ok(Self { socket })
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// Sends up to [`BATCH`] frames in one system call; returns how many of them went.
    ///
    /// # Errors
    /// When the first frame is refused; `ENOBUFS` means that the wire is full just now.
    pub fn send_batch<F: AsRef<[u8]>>(&self, frames: &[F]) -> io::Result<usize> {
        let mut vectors = [EMPTY_VECTOR; BATCH];
        let mut messages = [EMPTY_MESSAGE; BATCH];
        let mut count: libc::c_uint = 0;
        for ((frame, vector), message) in frames.iter().zip(&mut vectors).zip(&mut messages) {
            let bytes = frame.as_ref();
            // The kernel only reads through a vector that it sends from.
            *vector = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        // SAFETY: the first `count` messages point at vectors that point at `frames`' bytes; all
        // outlive the call.
        let sent =
            unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// A sender whose frames carry an unfinished UDP checksum, and the note about it that an
/// offloading IP stack makes.
#[derive(Debug)]
pub struct OffloadingSender {
    socket: Socket,
}

impl OffloadingSender {
    /// Opens a sender on `interface` in `namespace`.
    ///
    /// # Errors
    /// As [`FrameSender::open`].
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        let socket = bound_socket(namespace, interface, 0, &[])?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        Ok(Self { socket })
    }

    /// Sends one frame, whose UDP header begins at `udp_offset`.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send(&self, frame: &[u8], udp_offset: u16) -> io::Result<()> {
        // `struct virtio_net_hdr`: the sum starts at the UDP header; its field is 6 bytes on.
        let mut noted = vec![NEEDS_CHECKSUM, 0, 0, 0, 0, 0];
        noted.extend(udp_offset.to_ne_bytes());
        noted.extend(6_u16.to_ne_bytes());
        noted.extend(frame);
        self.socket.send(&noted).map(drop)
    }
}

/// One frame as it was on the wire, and when it arrived.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// The whole frame; a VLAN tag that the kernel took out is put back.
    pub frame: &'a [u8],
    /// The kernel's stamp, since the epoch.
    pub time: Duration,
}

/// A socket that receives whole frames from one interface; it does not see outgoing ones.
#[derive(Debug)]
pub struct FrameReceiver {
    socket: Socket,
    frames: Vec<[u8; TAG_LENGTH + FRAME_LENGTH]>,
    drops: u32,
}

impl FrameReceiver {
    /// Opens a receiver on `interface` in `namespace` for the frames that `filter` accepts: all of
    /// them when it is empty.
    ///
    /// # Errors
    /// When the socket cannot be opened or there is no such interface.
    pub fn open(namespace: &Namespace, interface: &str, filter: &[SockFilter]) -> Result<Self> {
        let socket = bound_socket(namespace, interface, ETH_P_ALL, filter)?;
        Ok(Self {
            socket,
            frames: vec![[0; TAG_LENGTH + FRAME_LENGTH]; BATCH],
            drops: 0,
        })
    }

    /// Waits for frames until `timeout` and hands those that are there, up to [`BATCH`], to
    /// `take`; returns how many.
    ///
    /// # Errors
    /// When the socket fails or a frame is longer than a receiver's buffer.
    pub fn receive(&mut self, timeout: Duration, mut take: impl FnMut(Arrival)) -> Result<usize> {
        let timeout = Timespec::try_from(timeout).context("a timeout out of range")?;
        match poll(
            &mut [PollFd::new(&self.socket, PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(0),
            outcome => outcome.context("cannot wait for frames")?,
        };
        let mut vectors = [EMPTY_VECTOR; BATCH];
        let mut messages = [EMPTY_MESSAGE; BATCH];
        let mut controls = [[0_u64; CONTROL_WORDS]; BATCH];
        let count = libc::c_uint::try_from(BATCH)?;
        let buffers = self.frames.iter_mut().zip(&mut controls);
        for ((buffer, vector), message) in buffers.zip(&mut vectors).zip(&mut messages) {
            let (frame, control) = buffer;
            let Some(room) = frame.get_mut(TAG_LENGTH..) else {
                continue;
            };
            *vector = libc::iovec {
                iov_base: room.as_mut_ptr().cast(),
                iov_len: room.len(),
            };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = size_of_val(control);
        }
        // SAFETY: each message points at a vector over its own frame buffer and at its own control
        // buffer, with their true lengths; all outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) {
                return Ok(0);
            }
            return Err(error).context("cannot receive frames");
        };
        for (message, buffer) in messages.iter().take(received).zip(&mut self.frames) {
            if message.msg_hdr.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
                bail!("a frame or its notes are longer than the receiver's buffer");
            }
            let notes = read_notes(&message.msg_hdr);
            let start = match notes.tag {
                None => TAG_LENGTH,
                Some(tag) => {
                    put_tag_back(buffer, tag);
                    0
                }
            };
            let end = TAG_LENGTH + message.msg_len as usize;
            if let Some(frame) = buffer.get(start..end) {
                take(Arrival {
                    frame,
                    time: notes.time,
                });
            }
        }
        Ok(received)
    }

    /// How many frames this socket has lost so far because its buffer was full.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn drops(&mut self) -> Result<u32> {
        let mut counts = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = libc::socklen_t::try_from(size_of_val(&counts))?;
        // SAFETY: the kernel writes at most `length` bytes, the size of `counts`, which both
        // outlive the call.
        let outcome = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counts).cast(),
                &raw mut length,
            )
        };
        if outcome < 0 {
            return Err(io::Error::last_os_error()).context("cannot read the socket's losses");
        }
        // The kernel starts over at each reading.
        self.drops = self.drops.saturating_add(counts.tp_drops);
        Ok(self.drops)
    }
}

/// Room for a `timespec` and a `tpacket_auxdata`, each with its header.
const CONTROL_WORDS: usize = 16;

const EMPTY_VECTOR: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};
const EMPTY_MESSAGE: libc::mmsghdr = libc::mmsghdr {
    // SAFETY: a `msghdr` of zeros is valid: null pointers and lengths of zero.
    msg_hdr: unsafe { mem::zeroed() },
    msg_len: 0,
};

#[derive(Default)]
struct Notes {
    time: Duration,
    /// The tag protocol and tag control information of an 802.1Q tag.
    tag: Option<(u16, u16)>,
}

fn read_notes(header: &libc::msghdr) -> Notes {
    let mut notes = Notes::default();
    // SAFETY: the kernel has filled the header's control buffer and set its length; the CMSG
    // macros walk within it, and each record is as long as its type says.
    unsafe {
        let mut record = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = record.as_ref() {
            let data = libc::CMSG_DATA(record);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let stamp: libc::timespec = data.cast::<libc::timespec>().read_unaligned();
                    let seconds = u64::try_from(stamp.tv_sec).unwrap_or(0);
                    let nanoseconds = u32::try_from(stamp.tv_nsec).unwrap_or(0);
                    notes.time = Duration::new(seconds, nanoseconds);
                }
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    let status: libc::tpacket_auxdata =
                        data.cast::<libc::tpacket_auxdata>().read_unaligned();
                    if status.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                        notes.tag = Some((status.tp_vlan_tpid, status.tp_vlan_tci));
                    }
                }
                _ => {}
            }
            record = libc::CMSG_NXTHDR(header, record);
        }
    }
    notes
}

/// Moves the hardware addresses into the room before the frame and writes the tag after them.
fn put_tag_back(buffer: &mut [u8], (protocol, control): (u16, u16)) {
    buffer.copy_within(TAG_LENGTH..TAG_LENGTH + ADDRESSES_LENGTH, 0);
    let tag = protocol
        .to_be_bytes()
        .into_iter()
        .chain(control.to_be_bytes());
    for (to, from) in buffer.iter_mut().skip(ADDRESSES_LENGTH).zip(tag) {
        *to = from;
    }
}

fn bound_socket(
    namespace: &Namespace,
    interface: &str,
    protocol: u16,
    filter: &[SockFilter],
) -> Result<Socket> {
    // Without a protocol the socket receives nothing until it is bound: the filter is in place
    // before the first frame.
    let socket = namespace
        .run(|| Ok(Socket::new(Domain::PACKET, Type::RAW, None)?))
        .context("cannot open a packet socket")?;
    if !filter.is_empty() {
        socket
            .attach_filter(filter)
            .context("cannot attach a socket filter")?;
    }
    set_option(
        &socket,
        libc::SOL_PACKET,
        libc::PACKET_IGNORE_OUTGOING,
        1_i32,
    )?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    // A burst must not be lost here and then be looked for in the daemon.
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 256 << 20)?;
    let index = name_to_index(&socket, interface)
        .with_context(|| format!("there is no interface {interface} in the namespace"))?;
    bind(&socket, index, protocol).with_context(|| format!("cannot bind to {interface}"))?;
    Ok(socket)
}

fn bind(socket: &Socket, index: u32, protocol: u16) -> Result<()> {
    // SAFETY: a `sockaddr_ll` is integers; zeros are valid.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(index)?;
    let length = libc::socklen_t::try_from(size_of_val(&address))?;
    // SAFETY: the kernel reads `length` bytes of `address`, which is that long.
    let outcome = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if outcome < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value))?;
    // SAFETY: the kernel reads `length` bytes of `value`, which is that long.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("cannot set socket option {name} of level {level}"));
    }
    Ok(())
}
