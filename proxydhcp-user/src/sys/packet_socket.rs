//! A packet socket on an interface: what it receives and sends are whole Ethernet frames.

use std::ffi::c_int;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::ptr;

use socket2::{Domain, SockFilter, Socket, Type};

/// Opens a socket for the IPv4 frames of the interface with this number that `filter` keeps.
///
/// # Errors
///
/// Without CAP_NET_RAW, or if the interface is gone or down.
pub(crate) fn open(interface: u32, filter: &[SockFilter]) -> io::Result<Socket> {
    let socket = unbound(filter)?;
    bind(&socket, interface, libc::ETH_P_IP)?;
    Ok(socket)
}

/// Opens a socket that receives nothing until it is bound: then, the frames that `filter` keeps.
///
/// # Errors
///
/// Without CAP_NET_RAW.
pub(crate) fn unbound(filter: &[SockFilter]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.attach_filter(filter)?;
    Ok(socket)
}

/// Lets a packet socket receive the frames of the interface with this number that have this protocol
/// (`ETH_P_...`, in host order).
///
/// # Errors
///
/// If the interface is gone or down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "constants in the kernel's narrower types"
)]
pub(crate) fn bind(socket: &impl AsRawFd, interface: u32, protocol: c_int) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (protocol as u16).to_be(),
        sll_ifindex: interface.try_into().map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the kernel reads the address' bytes, as many as it has.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
