//! Judges and answers a request or a DISCOVER from the tables in service, without sending it.

use std::net::Ipv4Addr;

use proxydhcp_common::PORT;
use proxydhcp_common::answer::reply;
use proxydhcp_common::checksum::Sum;
use proxydhcp_common::frame::{Frame, Slice};
use proxydhcp_common::headers;
use proxydhcp_common::nodes::Hardware;
use proxydhcp_common::slow_path::offer::{CLIENT_PORT, Declined, Offering, SERVER_PORT, offer};
use proxydhcp_common::verdict::{Reason, Stop};

use crate::nodes::hardware::Id;
use crate::tables::client_message::{Answer, Asked, discover, read, request_of};
use crate::tables::generation::Generation;
use crate::tables::table::Table;

/// The length of the Ethernet, IPv4 and UDP headers before the BOOTP message, in bytes.
const HEADERS: usize = 14 + 20 + 8;
/// Room for a request and its reply.
const ROOM: usize = 1024;
/// An address for documentation (RFC 5737), which no client has.
const NOBODYS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// What a message that cannot be built, which does not happen, would be refused for.
const FAULT: Stop = Stop::Refuse(Reason::Length);
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
    machine: &Machine,
    server: Ipv4Addr,
    architecture: u16,
    tables: &Generation,
) -> Result<Answer, Stop> {
    let &Machine {
        address: client,
        mac,
        uuid,
    } = machine;
    let (xid, bootp) = request_of(client, mac, uuid, architecture).map_err(|_| FAULT)?;
    let mut buffer = [0; ROOM];
    let mut frame = arrives(&mut buffer, (client, PORT), (server, PORT), &bootp).ok_or(FAULT)?;
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

/// Whether a client that asks for an address gets an offer of `server`, or why it gets none.
pub(super) fn simulate_discover(
    machine: &Machine,
    server: Ipv4Addr,
    to_all: bool,
    architecture: u16,
    tables: &Generation,
) -> Result<(), Declined> {
    let &Machine { mac, uuid, .. } = machine;
    let (_, bootp) = discover(mac, uuid, architecture).map_err(|_| FAULT)?;
    let from = (Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
    let to = (Ipv4Addr::BROADCAST, SERVER_PORT);
    let mut buffer = [0; ROOM];
    let mut frame = arrives(&mut buffer, from, to, &bootp).ok_or(FAULT)?;
    let offering = Offering {
        server: server.octets(),
        mac: SERVER_MAC,
        to_all,
    };
    offer(&mut frame, tables, &offering, true)
}

/// A message as it comes off the wire, with room for the answer behind it. UDP allows it to omit the
/// checksum.
fn arrives<'a>(
    room: &'a mut [u8; ROOM],
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    bootp: &[u8],
) -> Option<Slice<'a>> {
    let frame = frame(from, to, bootp)?;
    room.get_mut(..frame.len())?.copy_from_slice(&frame);
    Slice::new(room, frame.len())
}

fn frame(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), bootp: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(8 + bootp.len()).ok()?.to_be_bytes();
    let ip_length = u16::try_from(28 + bootp.len()).ok()?.to_be_bytes();
    let mut ip = Vec::with_capacity(20);
    ip.extend([0x45, 0]);
    ip.extend(ip_length);
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(from.0.octets());
    ip.extend(to.0.octets());
    let checksum = Sum::default().bytes(&ip).field();
    ip.get_mut(10..12)?.copy_from_slice(&checksum);
    let ethernet = [&SERVER_MAC[..], &CLIENT_MAC, &[8, 0]].concat();
    let ports = [from.1, to.1].map(u16::to_be_bytes);
    let udp = [ports.as_flattened(), &udp_length, &[0, 0]].concat();
    Some([&ethernet[..], &ip, &udp, bootp].concat())
}
