//! Holds UDP port 4011.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result, bail};
use proxydhcp_common::PORT;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// The port, taken: the kernel sends no "port unreachable" to clients, and a second daemon is told
/// that there is a first. What arrives is dropped; the datapaths have seen it before.
#[derive(Debug)]
pub struct Port(#[expect(dead_code, reason = "held open")] Socket);

impl Port {
    /// Takes the port on all addresses.
    ///
    /// # Errors
    ///
    /// Another program has it.
    pub fn take() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
            .context("cannot open a UDP socket")?;
        // BPF_RET with the number of bytes to keep: none.
        socket
            .attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])
            .context("cannot set a socket's filter")?;
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT);
        match socket.bind(&address.into()) {
            Ok(()) => Ok(Self(socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
                "UDP port {PORT} is taken: another proxyDHCP daemon is running; \
                 find it with `ss -lunp 'sport = :{PORT}'` and stop it first"
            ),
            Err(error) => Err(error).context(format!("cannot take UDP port {PORT}")),
        }
    }
}
