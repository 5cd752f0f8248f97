//! Checks a request's headers: Ethernet, VLAN tags, IPv4, UDP and BOOTP.

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::PORT;
use crate::checksum::Sum;
use crate::frame::Frame;
use crate::verdict::{Reason, Stop};
use crate::wire::{Address, Bootp, Ethernet, Ipv4, Tag, Udp, ethertype, is_client};

/// Length of an IPv4 header without options.
pub const IP_LEN: usize = size_of::<Ipv4>();

/// Length of the UDP header.
pub const UDP_LEN: usize = size_of::<Udp>();

/// Length of BOOTP's fixed part, the magic cookie included.
pub const BOOTP_LEN: usize = size_of::<Bootp>();

/// The IPv4 and UDP headers of a packet without IP options.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct IpUdp {
    pub(crate) ip: Ipv4,
    pub(crate) udp: Udp,
}

/// A UDP/IPv4 packet to the proxyDHCP port, of this host or of another.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// The offset of the IP header: 14, and 4 more for each VLAN tag.
    pub ip: usize,
    /// The IP header's length, options included.
    pub ip_len: usize,
    /// Whether the frame was sent to a group of hosts, so that its destination cannot be the source
    /// of the reply.
    pub to_group: bool,
    /// The source address of the packet.
    pub source: Address,
    /// The destination address of the packet.
    pub destination: Address,
}

impl Packet {
    /// Whether the fast path handles it: at most one VLAN tag, no IP options, sent to one host.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.ip <= 18 && self.ip_len == IP_LEN && !self.to_group
    }
}

/// A BOOTP request, with the addresses of client and server.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// The offset of the IP header (of [`IP_LEN`] bytes).
    pub ip: usize,
    /// Length of the BOOTP message in bytes.
    pub bootp_len: usize,
    /// The address that asks: source of the packet, and `ciaddr` unless that is 0.
    pub client: Address,
    /// The address that was asked.
    pub server: Address,
    /// The port that the client asks from.
    pub client_port: u16,
}

impl Datagram {
    /// The offset of the UDP header.
    #[inline(always)]
    pub const fn udp(&self) -> usize {
        self.ip + IP_LEN
    }

    /// The offset of the BOOTP message.
    #[inline(always)]
    pub const fn bootp(&self) -> usize {
        self.ip + IP_LEN + UDP_LEN
    }

    /// The offset of BOOTP's options.
    #[inline(always)]
    pub const fn options(&self) -> usize {
        self.bootp() + BOOTP_LEN
    }
}

/// Distinguishes IPv4/UDP packets to port 4011 from everything else, with the cheapest check first.
///
/// Datapaths count what this finds as received, and ignore everything else.
#[inline(always)]
pub fn find<F: Frame>(frame: &F) -> Option<Packet> {
    find_to(frame, PORT)
}

/// Finds IPv4/UDP packets to `port`, as [`find`] does.
#[inline(always)]
pub fn find_to<F: Frame>(frame: &F, wanted: u16) -> Option<Packet> {
    let ethernet = frame.header::<Ethernet>(0)?;
    let (ip, ethertype) = skip_tags(frame, ethernet.ethertype.get())?;
    let header = frame.header::<Ipv4>(ip)?;
    let ip_len = header.header_len();
    if ethertype != ethertype::IPV4
        || header.protocol != Ipv4::UDP
        || header.version_ihl >> 4 != 4
        || ip_len < IP_LEN
        // Only the first fragment contains the ports.
        || header.fragment.get() & Ipv4::FRAGMENT_OFFSET != 0
    {
        return None;
    }
    let port = if ip_len == IP_LEN {
        frame.header::<IpUdp>(ip)?.udp.destination
    } else {
        frame.header::<Udp>(frame.bound(ip + ip_len))?.destination
    };
    (port.get() == wanted).then_some(Packet {
        ip,
        ip_len,
        to_group: is_group(ethernet.destination),
        source: header.source,
        destination: header.destination,
    })
}

/// The offset and the type of the header behind at most two VLAN tags.
#[inline(always)]
fn skip_tags<F: Frame>(frame: &F, outer: u16) -> Option<(usize, u16)> {
    if !is_vlan(outer) {
        return Some((14, outer));
    }
    let middle = frame.header::<Tag>(14)?.ethertype.get();
    if !is_vlan(middle) {
        return Some((18, middle));
    }
    let inner = frame.header::<Tag>(18)?.ethertype.get();
    Some((22, inner))
}

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::PROVIDER_VLAN)
}

/// Whether a MAC address is that of a group of hosts, or the broadcast address.
#[inline(always)]
const fn is_group([first, ..]: [u8; 6]) -> bool {
    first & 1 != 0
}

/// Checks all fixed headers of a request without IP options.
///
/// # Errors
///
/// If a rule is broken: [`Stop::Refuse`] with that rule.
#[inline(always)]
pub fn admit<F: Frame>(frame: &F, packet: &Packet) -> Result<Datagram, Stop> {
    const LENGTH: Stop = Stop::Refuse(Reason::Length);
    let from = frame.header::<Ethernet>(0).ok_or(LENGTH)?.source;
    let IpUdp { ip, udp } = frame.header(packet.ip).ok_or(LENGTH)?;

    if ip.fragment.get() & Ipv4::MORE_FRAGMENTS != 0 {
        return Err(Stop::Refuse(Reason::Fragment));
    }
    // The IP total length marks the packet's end: Ethernet pads short frames, and some switches add
    // trailers.
    let total_len = usize::from(ip.total_len.get());
    let udp_len = usize::from(udp.len.get());
    if total_len != IP_LEN + udp_len || udp_len < UDP_LEN || packet.ip + total_len > frame.len() {
        return Err(LENGTH);
    }
    if !ip.sum().is_right() {
        return Err(Stop::Refuse(Reason::Checksum));
    }
    let client = ip.source;
    if is_group(from) || !is_client(client) {
        return Err(Stop::Refuse(Reason::SourceAddress));
    }
    let client_port = udp.source.get();
    if !matches!(client_port, 68 | PORT) {
        return Err(Stop::Refuse(Reason::SourcePort));
    }
    let datagram = Datagram {
        ip: packet.ip,
        bootp_len: udp_len - UDP_LEN,
        client,
        server: ip.destination,
        client_port,
    };
    // There must be at least one byte of options, which marks their end.
    if datagram.bootp_len <= BOOTP_LEN {
        return Err(Stop::Refuse(Reason::Short));
    }
    check_bootp(frame.header(datagram.bootp()).ok_or(LENGTH)?, client)?;
    Ok(datagram)
}

/// Checks BOOTP's fixed part.
#[inline(always)]
fn check_bootp(bootp: &Bootp, client: Address) -> Result<(), Stop> {
    if bootp.op != Bootp::REQUEST {
        return Err(Stop::Refuse(Reason::Op));
    }
    if bootp.cookie != Bootp::MAGIC_COOKIE {
        return Err(Stop::Refuse(Reason::Cookie));
    }
    if bootp.hlen > 16 {
        return Err(Stop::Refuse(Reason::HardwareAddress));
    }
    if bootp.giaddr != [0; 4] {
        return Err(Stop::Refuse(Reason::Relayed));
    }
    // Some clients leave it empty, and are known by the packet's source all the same.
    if bootp.ciaddr != client && bootp.ciaddr != [0; 4] {
        return Err(Stop::Refuse(Reason::ClientAddress));
    }
    Ok(())
}

/// The client's Ethernet address in `chaddr`, if what is there is as long as one.
#[inline(always)]
pub fn mac<F: Frame>(frame: &F, datagram: &Datagram) -> Option<[u8; 6]> {
    let bootp = frame.header::<Bootp>(datagram.bootp())?;
    let [a, b, c, d, e, f, ..] = bootp.chaddr;
    (bootp.hlen == 6).then_some([a, b, c, d, e, f])
}

/// The sum of UDP's pseudo header (RFC 768).
#[inline(always)]
pub(crate) fn pseudo_header(source: Address, destination: Address, udp_len: u16) -> Sum {
    Sum::default()
        .word(source)
        .word(destination)
        .number(u16::from(Ipv4::UDP))
        .number(udp_len)
}

/// Whether the UDP checksum is right, or absent (0), which IPv4 allows.
#[inline(always)]
pub fn is_udp_checksum_right<F: Frame>(frame: &F, datagram: &Datagram) -> bool {
    let udp_len = datagram.bootp_len + UDP_LEN;
    let Some(udp) = frame.header::<Udp>(datagram.udp()) else {
        return false;
    };
    if udp.checksum == [0, 0] {
        return true;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "16 bits are what it came in"
    )]
    let pseudo = pseudo_header(datagram.client, datagram.server, udp_len as u16);
    sum_datagram(frame, datagram, pseudo).is_some_and(Sum::is_right)
}

/// Adds the UDP header and the BOOTP message to `sum`.
#[inline(always)]
fn sum_datagram<F: Frame>(frame: &F, datagram: &Datagram, sum: Sum) -> Option<Sum> {
    let names = datagram.bootp() + NAMES_AT;
    let end = datagram.bootp() + datagram.bootp_len;
    let sum = frame.add_block::<{ UDP_LEN + NAMES_AT }>(sum, datagram.udp())?;
    // Clients leave these fields empty; checking for that costs half as much as summing them up.
    let rest = if is_blank(frame.at(names)?) {
        names + NAMES_LEN
    } else {
        names
    };
    frame.add(sum, rest, end - rest)
}

/// Whether all bytes are 0.
#[inline(always)]
fn is_blank(bytes: &[u8; NAMES_LEN]) -> bool {
    let (words, _) = bytes.as_chunks();
    let bits = words
        .iter()
        .fold(0, |bits, word| bits | u64::from_ne_bytes(*word));
    bits == 0
}

/// The offset of `sname` and `file` in the BOOTP message.
const NAMES_AT: usize = offset_of!(Bootp, sname);

/// The length of `sname` and `file` together.
pub(crate) const NAMES_LEN: usize = offset_of!(Bootp, cookie) - NAMES_AT;
