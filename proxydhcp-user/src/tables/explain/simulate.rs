//! Judges and answers a request from the tables in service, without sending it.

use std::net::Ipv4Addr;

use proxydhcp_common::PORT;
use proxydhcp_common::answer::reply;
use proxydhcp_common::checksum::Sum;
use proxydhcp_common::frame::{Frame, Slice};
use proxydhcp_common::headers;
use proxydhcp_common::nodes::Hardware;
use proxydhcp_common::verdict::{Reason, Stop};

use crate::nodes::hardware::Id;
use crate::tables::client_message::{Answer, Asked, read, request_of};
use crate::tables::generation::Generation;
use crate::tables::table::Table;

/// The length of the Ethernet, IPv4 and UDP headers before the BOOTP message, in bytes.
const HEADERS: usize = 14 + 20 + 8;
/// Room for a request and its reply.
const ROOM: usize = 1024;
/// An address for documentation (RFC 5737), which no client has.
const NOBODYS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Locally administered hardware addresses.
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A machine that asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    address: Ipv4Addr,
    mac: [u8; 6],
    uuid: Option<[u8; 16]>,
}

impl Machine {
    /// A machine that no node is.
    pub(super) fn unknown(table: &Table) -> Self {
        let [first @ .., _] = CLIENT_MAC;
        let [a, b, c, d, e] = first;
        let mut macs = (2..=u8::MAX).map(|last| [a, b, c, d, e, last]);
        let is_free = |mac: &[u8; 6]| table.sent_by(Hardware::Mac(*mac)).is_none();
        Self {
            address: NOBODYS,
            mac: macs.find(is_free).unwrap_or(CLIENT_MAC),
            uuid: None,
        }
    }

    /// The machine with this address.
    pub(super) fn at(self, address: Ipv4Addr) -> Self {
        Self { address, ..self }
    }

    /// A machine that is known by this, from an address that says nothing.
    pub(super) fn known_by(id: Id, table: &Table) -> Self {
        let unknown = Self::unknown(table);
        match id.sent().next() {
            Some(Hardware::Mac(mac)) => Self { mac, ..unknown },
            Some(Hardware::Uuid(uuid)) => Self {
                uuid: Some(uuid),
                ..unknown
            },
            None => unknown,
        }
    }
}

/// What a client that asks `server` gets, or why it gets nothing.
pub(super) fn simulate(
    machine: Machine,
    server: Ipv4Addr,
    architecture: u16,
    tables: &Generation,
) -> Result<Answer, Stop> {
    const FAULT: Stop = Stop::Refuse(Reason::Length);
    let Machine {
        address: client,
        mac,
        uuid,
    } = machine;
    let (xid, bootp) = request_of(client, mac, uuid, architecture).map_err(|_| FAULT)?;
    let request = frame(client, server, &bootp).ok_or(FAULT)?;
    let mut buffer = [0; ROOM];
    let place = buffer.get_mut(..request.len()).ok_or(FAULT)?;
    place.copy_from_slice(&request);
    let mut frame = Slice::new(&mut buffer, request.len()).ok_or(FAULT)?;
    let packet = headers::find(&frame).ok_or(FAULT)?;
    reply(&mut frame, &packet, tables, SERVER_MAC, true)?;
    let length = frame.len();
    let asked = Asked {
        xid,
        client,
        server,
        mac,
    };
    let bytes = buffer.get(HEADERS..length).unwrap_or_default();
    Ok(read(bytes, &asked))
}

/// The request as it comes off the wire. UDP allows it to omit the checksum.
fn frame(client: Ipv4Addr, server: Ipv4Addr, bootp: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(8 + bootp.len()).ok()?.to_be_bytes();
    let ip_length = u16::try_from(28 + bootp.len()).ok()?.to_be_bytes();
    let mut ip = Vec::with_capacity(20);
    ip.extend([0x45, 0]);
    ip.extend(ip_length);
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(client.octets());
    ip.extend(server.octets());
    let checksum = Sum::default().bytes(&ip).field();
    ip.get_mut(10..12)?.copy_from_slice(&checksum);
    let ethernet = [&SERVER_MAC[..], &CLIENT_MAC, &[8, 0]].concat();
    let port = PORT.to_be_bytes();
    let udp = [&port[..], &port, &udp_length, &[0, 0]].concat();
    Some([&ethernet[..], &ip, &udp, bootp].concat())
}
