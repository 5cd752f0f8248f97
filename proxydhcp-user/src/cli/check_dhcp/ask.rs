//! Asks by a packet socket, which needs no port: a DHCP client or server of this host goes on as it is.

use std::io::{self, ErrorKind, Read};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use proxydhcp_common::checksum::Sum;

use super::offer::Offer;
use crate::nodes::hardware::Mac;
use crate::sys::{packet_filter, packet_socket};
use crate::tables::client_message;
use crate::winpe::architecture::Architecture;

/// The ports of BOOTP servers and clients.
const SERVERS: u16 = 67;
const CLIENTS: u16 = 68;
/// The lengths of the headers that are sent, in bytes.
const IP: u16 = 20;
const UDP: u16 = 8;
const ETHERNET: usize = 14;

/// The offers that are kept: more than any network has servers, however many one sends.
const MOST: usize = 64;

/// Sends a DISCOVER for each architecture, once more after a third of the time, and returns what is
/// offered in the order in which it comes.
pub(super) fn ask(
    interface: u32,
    mac: Mac,
    architectures: &[Architecture],
    time: Duration,
) -> Result<Vec<Offer>> {
    let socket = packet_socket::open(interface, &packet_filter::to_port(CLIENTS))?;
    let mut asked = Vec::new();
    for arch in architectures {
        let (xid, message) = client_message::discover(mac.0, None, arch.0)?;
        asked.push((*arch, xid, frame(mac, &message)?));
    }
    let started = Instant::now();
    let mut offers: Vec<Offer> = Vec::new();
    let mut buffer = [0; 2048];
    for until in [time / 3, time] {
        for (_, _, frame) in &asked {
            socket.send(frame)?;
        }
        let until = started + until;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            let length = match (&socket).read(&mut buffer) {
                Ok(length) => length,
                Err(error) if is_late(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            let frame = buffer.get(..length).unwrap_or_default();
            let Some((source, message)) = payload(frame) else {
                continue;
            };
            let of = |(arch, xid, _): &(Architecture, u32, Vec<u8>)| {
                let is_ours = client_message::xid(message) == Some(*xid);
                is_ours.then(|| Offer::read(message, *arch, source, mac))?
            };
            if let Some(offer) = asked.iter().find_map(of)
                && !offers.contains(&offer)
                && offers.len() < MOST
            {
                offers.push(offer);
            }
        }
    }
    offers.sort_by_key(|offer| offer.arch.0);
    Ok(offers)
}

fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// A broadcast from a client without an address.
fn frame(mac: Mac, message: &[u8]) -> io::Result<Vec<u8>> {
    let long = |header: u16| {
        let length = u16::try_from(message.len()).ok()?;
        length.checked_add(header)
    };
    let lengths = (long(IP + UDP), long(UDP));
    let (Some(length), Some(udp_length)) = lengths else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let (source, destination) = (Ipv4Addr::UNSPECIFIED.octets(), [255; 4]);
    let [high, low] = length.to_be_bytes();
    // Version and length of the header; lifetime 64; UDP.
    let mut ip = [0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0];
    let sum = Sum::default().bytes(&ip).word(source).word(destination);
    if let Some(field) = ip.last_chunk_mut() {
        *field = sum.field();
    }
    let ports_and_length = [CLIENTS, SERVERS, udp_length].map(u16::to_be_bytes);
    let sum = Sum::default()
        .word(source)
        .word(destination)
        .number(17)
        .number(udp_length)
        .bytes(ports_and_length.as_flattened())
        .bytes(message);
    Ok([
        &[0xff; 6],
        &mac.0[..],
        &[0x08, 0x00],
        &ip,
        &source,
        &destination,
        ports_and_length.as_flattened(),
        &sum.udp_field(),
        message,
    ]
    .concat())
}

/// The source address and the UDP payload of a frame that the filter has kept.
fn payload(frame: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let ip = frame.get(ETHERNET..)?;
    let header = usize::from(ip.first()? & 0x0f) * 4;
    let source: [u8; 4] = ip.get(12..16)?.try_into().ok()?;
    let udp = ip.get(header..)?;
    let length: [u8; 2] = udp.get(4..6)?.try_into().ok()?;
    let end = usize::from(u16::from_be_bytes(length));
    Some((source.into(), udp.get(usize::from(UDP)..end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_and_its_payload_is_found() {
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        let frame = frame(mac, b"message").unwrap();
        assert_eq!(
            frame[..14],
            [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 8, 0]
        );
        assert!(Sum::default().bytes(&frame[14..34]).is_right());
        assert_eq!(
            payload(&frame),
            Some((Ipv4Addr::UNSPECIFIED, &b"message"[..]))
        );
        for length in 0..frame.len() {
            assert_eq!(payload(&frame[..length]), None);
        }
    }
}
