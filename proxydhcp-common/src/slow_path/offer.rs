//! Proxy offers: the answers to the DHCPDISCOVERs of PXE clients, which lead them to port 4011 (PXE 2.1,
//! section 2.2.3). The client takes its address from a DHCP server, which knows nothing of this.
//!
//! A DISCOVER is never taken away from a DHCP server: what is turned into an offer is a copy.

use super::{Gathered, Value, Walk, identity_of, make_plain};
use crate::activity::Outcome;
use crate::checksum::Sum;
use crate::frame::{Frame, Slice};
use crate::headers::{self, BOOTP_LEN, Datagram, IP_LEN, IpUdp, Packet, UDP_LEN};
use crate::judge::{Asker, Tables, charge};
use crate::nodes::{Nodes, Target};
use crate::options::{PXE_CLIENT, code};
use crate::source::Source;
use crate::template::UUID_LEN;
use crate::verdict::{Reason, Stop};
use crate::wire::{Address, BROADCAST, Bootp, Ethernet, Ipv4, is_client};

/// The port of DHCP servers.
pub const SERVER_PORT: u16 = 67;
/// The port of DHCP clients.
pub const CLIENT_PORT: u16 = 68;

/// DHCPDISCOVER (RFC 2132, section 9.6).
const DISCOVER: u8 = 1;
/// DHCPOFFER.
const OFFER: u8 = 2;
/// The vendor class of clients that boot by HTTP (UEFI, section 24.7).
const HTTP_CLIENT: [u8; 10] = *b"HTTPClient";
/// The user class of iPXE.
const IPXE: [u8; 4] = *b"iPXE";
/// The shortest BOOTP message (RFC 1542, section 2.1).
const SHORTEST: usize = 300;
/// The longest option 82 that is sent back: the relay counts on all of it, or on none.
const LONGEST_RELAY_OPTION: usize = 255;

/// Who offers, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Offering {
    /// The address of this host on the interface.
    pub server: Address,
    /// The interface's own MAC address.
    pub mac: [u8; 6],
    /// Whether clients without a record are offered the default WinPE, too.
    pub to_all: bool,
}

/// Why no offer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// It is no DISCOVER of a network boot: nothing to do with this program.
    Other,
    /// The client boots by HTTP.
    Http,
    /// It is iPXE on a machine without a record, which knows by itself what it boots.
    Ipxe,
    /// As for requests.
    Stop(Stop),
}

impl From<Stop> for Declined {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<Reason> for Declined {
    fn from(reason: Reason) -> Self {
        Self::Stop(Stop::Refuse(reason))
    }
}

/// Turns a DISCOVER into the offer to it. For `vouched` see [`super::judge`].
///
/// # Errors
///
/// Why no offer is made.
pub fn offer<T: Tables>(
    frame: &mut Slice<'_>,
    tables: &T,
    offering: &Offering,
    vouched: bool,
) -> Result<(), Declined> {
    let packet = headers::find_to(frame, SERVER_PORT).ok_or(Declined::Other)?;
    // An offer has a source of its own.
    let packet = Packet {
        to_group: false,
        ..packet
    };
    let nodes = tables
        .nodes()
        .and_then(Nodes::open)
        .ok_or(Declined::Other)?;
    let packet = make_plain(frame, packet, offering.mac)?;
    let (datagram, gathered) = read(frame, &packet)?;
    let (architecture, loader) = gathered.pxe_loader(&nodes).ok_or(Reason::Architecture)?;
    let (mac, uuid) = identity_of(frame, &datagram, &gathered);
    let target = match nodes.known(mac, uuid.as_ref()) {
        Some(known) => known.node(),
        None if !offering.to_all => None,
        None if gathered.user_class.get().starts_with(&IPXE) => return Err(Declined::Ipxe),
        None => nodes.unknown().node(),
    };
    let target: Target = target.ok_or(Reason::Unknown)?;
    let number = nodes.template(nodes.winpe(target), loader, false);
    tables
        .template(target.bank(), number)
        .ok_or(Reason::Unknown)?;
    if !vouched && !headers::is_udp_checksum_right(frame, &datagram) {
        return Err(Reason::Checksum.into());
    }
    let source = Source {
        address: relay(frame, &datagram)?,
        mac: [0; 6],
        chaddr: Source::of(frame, &packet).chaddr,
    };
    charge(tables.bucket(&source)?, &nodes, tables)?;
    write(frame, &datagram, uuid, offering).ok_or(Reason::Length)?;
    let asker = Asker {
        node: nodes.number(target.stored()),
        ..Asker::default()
    };
    tables.note(asker, Outcome::Offered, Some(architecture));
    Ok(())
}

/// The relay's address; 0.0.0.0 without one.
fn relay(frame: &Slice<'_>, datagram: &Datagram) -> Result<Address, Declined> {
    let bootp = frame.header::<Bootp>(datagram.bootp());
    Ok(bootp.ok_or(Reason::Length)?.giaddr)
}

/// Checks the headers of a DISCOVER, and gathers its options. What is none is told apart first: it is
/// the business of others, however malformed.
fn read(frame: &Slice<'_>, packet: &Packet) -> Result<(Datagram, Gathered), Declined> {
    let from = frame.header::<Ethernet>(0).ok_or(Declined::Other)?.source;
    let IpUdp { ip, udp } = frame.header(packet.ip).ok_or(Declined::Other)?;
    let (total_len, udp_len) = (usize::from(ip.total_len.get()), usize::from(udp.len.get()));
    let is_whole = total_len == IP_LEN + udp_len && packet.ip + total_len <= frame.len();
    let datagram = Datagram {
        ip: packet.ip,
        bootp_len: udp_len.checked_sub(UDP_LEN).ok_or(Declined::Other)?,
        client: ip.source,
        server: ip.destination,
        client_port: udp.source.get(),
    };
    if !is_whole || datagram.bootp_len <= BOOTP_LEN {
        return Err(Declined::Other);
    }
    let bootp: &Bootp = frame.header(datagram.bootp()).ok_or(Declined::Other)?;
    if bootp.op != Bootp::REQUEST || bootp.cookie != Bootp::MAGIC_COOKIE {
        return Err(Declined::Other);
    }
    let gathered = Gathered::from(frame, &datagram).map_err(|_| Declined::Other)?;
    let class = gathered.vendor_class.get();
    if gathered.message_type.get() != [DISCOVER] || gathered.message_type.len != 1 {
        return Err(Declined::Other);
    }
    if class.starts_with(&HTTP_CLIENT) {
        return Err(Declined::Http);
    }
    if !class.starts_with(&PXE_CLIENT) {
        return Err(Declined::Other);
    }

    if ip.fragment.get() & Ipv4::MORE_FRAGMENTS != 0 {
        return Err(Reason::Fragment.into());
    }
    if !ip.sum().is_right() {
        return Err(Reason::Checksum.into());
    }
    if bootp.hlen > 16 {
        return Err(Reason::HardwareAddress.into());
    }
    let is_relayed = bootp.giaddr != [0; 4];
    let is_source_possible = if is_relayed {
        is_client(ip.source) && is_client(bootp.giaddr)
    } else {
        // It has no address yet.
        ip.source == [0; 4]
    };
    let [first, ..] = from;
    if !is_source_possible || first & 1 != 0 {
        return Err(Reason::SourceAddress.into());
    }
    if !matches!(datagram.client_port, CLIENT_PORT | SERVER_PORT)
        || !is_relayed && datagram.client_port != CLIENT_PORT
    {
        return Err(Reason::SourcePort.into());
    }
    Ok((datagram, gathered))
}

/// Writes the offer, with the client's UUID.
fn write(
    frame: &mut Slice<'_>,
    discover: &Datagram,
    uuid: Option<[u8; 16]>,
    offering: &Offering,
) -> Option<()> {
    let bootp_at = discover.bootp();
    let request = frame.bytes(bootp_at, discover.bootp_len)?;
    let mut relay_option = Value::<LONGEST_RELAY_OPTION>::default();
    for option in Walk(request.get(BOOTP_LEN..)?) {
        if let (code::RELAY, part) = option.ok()? {
            relay_option.add(part);
        }
    }
    let giaddr = frame.header::<Bootp>(bootp_at)?.giaddr;
    let is_relayed = giaddr != [0; 4];
    let is_sent_back = is_relayed && (1..=LONGEST_RELAY_OPTION).contains(&relay_option.len);
    let relay_option = Some(relay_option.get()).filter(|_| is_sent_back);
    let len = BOOTP_LEN
        + 3
        + 6
        + 2
        + PXE_CLIENT.len()
        + uuid.map_or(0, |_| 2 + UUID_LEN)
        + relay_option.map_or(0, |option| 2 + option.len())
        + 1;
    let len = len.max(SHORTEST);
    frame.resize(bootp_at + len).ok()?;

    let ethernet = frame.header_mut::<Ethernet>(0)?;
    ethernet.destination = if is_relayed {
        ethernet.source
    } else {
        [0xff; 6]
    };
    ethernet.source = offering.mac;
    let bootp = frame.header_mut::<Bootp>(bootp_at)?;
    bootp.op = Bootp::REPLY;
    bootp.hops = 0;
    bootp.secs = [0; 2];
    bootp.ciaddr = [0; 4];
    bootp.yiaddr = [0; 4];
    bootp.siaddr = offering.server;
    bootp.sname = [0; 64];
    bootp.file = [0; 128];
    let mut room = frame.bytes_mut(bootp_at + BOOTP_LEN, len - BOOTP_LEN)?;
    room.fill(0);
    let mut put = |code: u8, value: &[u8]| -> Option<()> {
        let (option, rest) = core::mem::take(&mut room).split_at_mut_checked(2 + value.len())?;
        let (head, body) = option.split_at_mut_checked(2)?;
        head.copy_from_slice(&[code, u8::try_from(value.len()).ok()?]);
        body.copy_from_slice(value);
        room = rest;
        Some(())
    };
    put(code::MESSAGE_TYPE, &[OFFER])?;
    put(code::SERVER, &offering.server)?;
    put(code::VENDOR_CLASS, &PXE_CLIENT)?;
    if let Some(uuid) = uuid {
        let mut value = [0; UUID_LEN];
        value.last_chunk_mut().map(|end| *end = uuid)?;
        put(code::UUID, &value)?;
    }
    if let Some(option) = relay_option {
        // It is the last (RFC 3046, section 2.1).
        put(code::RELAY, option)?;
    }
    *room.first_mut()? = code::END;

    let answer = Datagram {
        client: if is_relayed { giaddr } else { BROADCAST },
        server: offering.server,
        client_port: if is_relayed { SERVER_PORT } else { CLIENT_PORT },
        bootp_len: len,
        ..*discover
    };
    let sum = frame.add(Sum::default(), bootp_at, len)?;
    crate::reply::write_ip_udp_from(SERVER_PORT, frame, &answer, len, sum)
}
