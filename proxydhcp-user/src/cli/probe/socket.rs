//! The sockets of a probe: one that has the port and gets the reply, and a raw one that sends.
//!
//! What a UDP socket sends by a veth or a virtual card has a checksum that is left to hardware that there
//! is not. The XDP program cannot tell such a request from a damaged one, and hands it up: then it is
//! not the program that is probed. A raw socket sends the checksum that firmware would.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{setsockopt, sockopt::Ipv4RecvErr};
use proxydhcp_common::PORT;
use proxydhcp_common::checksum::Sum;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::ProbeArgs;
use crate::winpe::architecture::Architecture;

/// The port that iPXE and BIOS firmware ask from.
const BOOTP_CLIENT: u16 = 68;

/// The number of UDP in an IP header.
const UDP: u16 = 17;
/// The length of a UDP header in bytes.
const HEADER: u16 = 8;

/// The sockets of a probe.
pub(super) struct Socket {
    udp: UdpSocket,
    /// Without the right to have it, the other one sends.
    raw: Option<RawSocket>,
    from: SocketAddrV4,
    to: SocketAddrV4,
}

impl Socket {
    /// Takes a port that daemons answer: that of the requested firmware, or else the other one.
    pub(super) fn open(client: Ipv4Addr, args: &ProbeArgs) -> Result<Self> {
        let ports = match args.arch {
            Architecture::BIOS => [BOOTP_CLIENT, PORT],
            _ => [PORT, BOOTP_CLIENT],
        };
        let mut faults = Vec::new();
        for port in ports {
            match UdpSocket::bind((client, port)) {
                Ok(udp) => {
                    let to = SocketAddrV4::new(args.server, PORT);
                    udp.connect(to)
                        .with_context(|| format!("no route to {} from {client}", args.server))?;
                    // Errors such as unreachable hosts and networks are reported on the socket, too.
                    setsockopt(&udp, Ipv4RecvErr, &true)?;
                    return Ok(Self {
                        udp,
                        raw: raw(client, args.server).ok(),
                        from: SocketAddrV4::new(client, port),
                        to,
                    });
                }
                Err(error) => faults.push(match error.kind() {
                    ErrorKind::AddrInUse => {
                        format!("port {port} is taken: see `ss -lunp 'sport = :{port}'`")
                    }
                    ErrorKind::PermissionDenied => {
                        format!("port {port} needs root: run it with sudo")
                    }
                    _ => format!("port {port}: {error}"),
                }),
            }
        }
        bail!(
            "daemons answer requests from ports 68 and 4011 alone, and neither can be had on \
             {client}: {}",
            faults.join("; ")
        )
    }

    /// The port that asks.
    pub(super) fn port(&self) -> u16 {
        self.from.port()
    }

    /// Sends a request.
    pub(super) fn send(&self, request: &[u8]) -> io::Result<()> {
        match &self.raw {
            Some(raw) => raw.send(&datagram(self.from, self.to, request)?),
            None => self.udp.send(request),
        }
        .map(drop)
    }

    /// Waits for a reply for this time, which must not be zero.
    pub(super) fn receive(&self, buffer: &mut [u8], time: Duration) -> io::Result<usize> {
        self.udp.set_read_timeout(Some(time))?;
        self.udp.recv(buffer)
    }
}

fn raw(client: Ipv4Addr, server: Ipv4Addr) -> io::Result<RawSocket> {
    let raw = RawSocket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
    raw.bind(&SocketAddrV4::new(client, 0).into())?;
    raw.connect(&SocketAddrV4::new(server, 0).into())?;
    Ok(raw)
}

/// A UDP datagram with its checksum (RFC 768).
fn datagram(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(payload.len())
        .ok()
        .and_then(|length| length.checked_add(HEADER))
        .ok_or(ErrorKind::InvalidInput)?;
    let ports_and_length = [from.port(), to.port(), length].map(u16::to_be_bytes);
    let sum = Sum::default()
        .word(from.ip().octets())
        .word(to.ip().octets())
        .number(UDP)
        .number(length)
        .bytes(ports_and_length.as_flattened())
        .bytes(payload);
    Ok([ports_and_length.as_flattened(), &sum.udp_field(), payload].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_has_its_checksum() {
        let from = SocketAddrV4::new([10, 0, 0, 9].into(), 68);
        let to = SocketAddrV4::new([10, 0, 0, 1].into(), 4011);
        for payload in [&b""[..], b"x", b"a request"] {
            let datagram = datagram(from, to, payload).unwrap();
            assert_eq!(datagram.len(), 8 + payload.len());
            assert_eq!(datagram[..4], [0, 68, 0x0f, 0xab]);
            let pseudo = [
                &from.ip().octets()[..],
                &to.ip().octets(),
                &[0, 17, 0, datagram[5]],
            ];
            let whole = [pseudo.concat(), datagram].concat();
            assert!(Sum::default().bytes(&whole).is_right(), "{payload:?}");
        }
    }
}
