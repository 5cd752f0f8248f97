//! UDP port 69, and the requests that come to it.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, RcvBufForce};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::debug;

use crate::api::status::named;
use crate::daemon::port::is_daemon;
use crate::sys::port_holder::{Holder, holders};

/// The port that TFTP requests come to (RFC 1350, section 4).
const PORT: u16 = 69;
/// Room for the requests of a boot storm, in bytes: for 10,000 where each takes more than a page, as on a
/// veth end with an XDP program. The kernel takes only as much as waits there.
const RECEIVE_BUFFER: usize = 32 << 20;
/// The longest request, in bytes (RFC 2347: 512 bytes of a packet; some firmware sends a little more).
pub(super) const REQUEST_LEN: usize = 1024;

/// The port, opened while the process may do so.
#[derive(Debug)]
pub struct Port(Socket);

impl Port {
    /// Takes the port on all addresses.
    ///
    /// # Errors
    ///
    /// If another program holds it, or this process may not take it (`CAP_NET_BIND_SERVICE`).
    pub fn take() -> Result<Self> {
        let take = || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            setsockopt(&socket, Ipv4PacketInfo, &true)?;
            // Without the right to it, the system's default must do.
            if let Err(error) = setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER) {
                debug!("a short receive buffer for TFTP requests: {error}");
                let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
            }
            socket.set_nonblocking(true)?;
            socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT).into())?;
            io::Result::Ok(socket)
        };
        match take() {
            Ok(socket) => Ok(Self(socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
                "UDP port {PORT} is held by {}: stop that, or serve without --tftp",
                named(&others())
            ),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => bail!(
                "UDP port {PORT} cannot be taken: this needs CAP_NET_BIND_SERVICE, for the systemd \
                 unit by a drop-in such as tftp.conf"
            ),
            Err(error) => Err(error).context(format!("cannot take UDP port {PORT}")),
        }
    }

    /// Listens for requests.
    pub(super) fn listen(self) -> io::Result<Requests> {
        Ok(Requests(UdpSocket::from_std(self.0.into())?))
    }
}

/// The programs that hold the port, if another than this daemon does.
pub(crate) fn others() -> Vec<Holder> {
    let mut others = holders(PORT);
    others.retain(|holder| !is_daemon(holder));
    others
}

/// The requests that come to the port.
pub(super) struct Requests(UdpSocket);

/// Where a request has come from, and by which way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) client: SocketAddrV4,
    /// The address of this host that was asked.
    pub(super) server: Ipv4Addr,
    /// The kernel's number for the interface.
    pub(super) interface: u32,
}

impl Requests {
    /// The next request: its length in the buffer, and its way; `None` for one to a broadcast
    /// address, which gets no answer.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) async fn next(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Way)>> {
        let receive = || receive(&self.0, buffer);
        self.0.async_io(Interest::READABLE, receive).await
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<(usize, Way)>> {
    let mut space = nix::cmsg_space!(libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let fd = socket.as_raw_fd();
    let received = recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut space), MsgFlags::empty())?;
    let way = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
        _ => None,
    });
    let (Some(client), Some(info)) = (received.address, way) else {
        return Ok(None);
    };
    let server = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
    let local = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
    let way = Way {
        client: SocketAddrV4::new(client.ip(), client.port()),
        server,
        interface: u32::try_from(info.ipi_ifindex).unwrap_or_default(),
    };
    Ok((server == local).then_some((received.bytes, way)))
}
