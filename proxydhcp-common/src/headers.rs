//! The headers of a request: Ethernet, VLAN tags, IPv4, UDP and BOOTP.

use crate::PORT;
use crate::checksum::Sum;
use crate::frame::Frame;
use crate::judge::{Reason, Stop};
use crate::nodes::{self, Lines};

/// Length of an IPv4 header without options.
pub const IP_LEN: usize = 20;

/// Length of the UDP header.
pub const UDP_LEN: usize = 8;

/// Length of BOOTP's fixed part, the magic cookie included (RFC 2131, section 3).
pub const BOOTP_LEN: usize = 240;

const IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u16 = 17;
const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];

/// A UDP/IPv4 packet to this host's proxyDHCP port.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Where the IP header lies: 14, and 4 more for each VLAN tag.
    pub ip: usize,
    /// The IP header's length, options included.
    pub ip_len: usize,
    /// The frame was sent to a group of hosts, so that its destination is no address to reply
    /// from.
    pub to_group: bool,
}

impl Packet {
    /// Whether the fast path takes it: one VLAN tag at most, no IP options, sent to one host.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.ip <= 18 && self.ip_len == IP_LEN && !self.to_group
    }
}

/// A BOOTP request, and who sent it to whom.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Where the IP header (of [`IP_LEN`] bytes) lies.
    pub ip: usize,
    /// Length of the BOOTP message in bytes.
    pub bootp_len: usize,
    /// The address that asks: source of the packet, and `ciaddr`.
    pub client: [u8; 4],
    /// The address that was asked.
    pub server: [u8; 4],
    /// The port that asks, in network byte order.
    pub client_port: [u8; 2],
}

impl Datagram {
    /// Where the UDP header lies.
    #[inline(always)]
    pub const fn udp(&self) -> usize {
        self.ip + IP_LEN
    }

    /// Where the BOOTP message lies.
    #[inline(always)]
    pub const fn bootp(&self) -> usize {
        self.ip + IP_LEN + UDP_LEN
    }
}

/// 802.1Q and 802.1ad.
#[inline(always)]
const fn is_vlan(ethertype: [u8; 2]) -> bool {
    matches!(ethertype, [0x81, 0x00] | [0x88, 0xa8])
}

/// Tells requests to this host's port 4011 from everything else, by the cheapest check first.
///
/// Frames that merely pass through this host, as a router or a bridge, are not its business: the
/// destination must be one of its own addresses.
///
/// # Errors
///
/// [`Stop::NotOurs`].
#[inline(always)]
pub fn locate<F: Frame, L: Lines + ?Sized>(frame: &F, lines: &L) -> Result<Packet, Stop> {
    let ethernet = frame.at::<14>(0).ok_or(Stop::NotOurs)?;
    let mut ip = 14;
    let mut ethertype = [ethernet[12], ethernet[13]];
    if is_vlan(ethertype) {
        let tag = frame.at::<4>(14).ok_or(Stop::NotOurs)?;
        ip = 18;
        ethertype = [tag[2], tag[3]];
        if is_vlan(ethertype) {
            let tag = frame.at::<4>(18).ok_or(Stop::NotOurs)?;
            ip = 22;
            ethertype = [tag[2], tag[3]];
        }
    }
    if ethertype != IPV4 {
        return Err(Stop::NotOurs);
    }
    let header = frame.at::<24>(ip).ok_or(Stop::NotOurs)?;
    let ip_len = usize::from(header[0] & 0x0f) * 4;
    // All fragments but the first have no ports to tell them by.
    let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if u16::from(header[9]) != UDP || header[0] >> 4 != 4 || ip_len < IP_LEN || fragment_offset != 0
    {
        return Err(Stop::NotOurs);
    }
    let port = if ip_len == IP_LEN {
        [header[22], header[23]]
    } else {
        *frame
            .at::<2>(frame.bound(ip + ip_len + 2))
            .ok_or(Stop::NotOurs)?
    };
    if port != PORT.to_be_bytes() {
        return Err(Stop::NotOurs);
    }
    if !nodes::is_local(lines, [header[16], header[17], header[18], header[19]]) {
        return Err(Stop::NotOurs);
    }
    Ok(Packet {
        ip,
        ip_len,
        to_group: ethernet[0] & 1 != 0,
    })
}

/// Checks all fixed headers of a request without IP options.
///
/// # Errors
///
/// [`Stop::Refuse`] with the rule that is broken.
#[inline(always)]
pub fn admit<F: Frame>(frame: &F, packet: &Packet) -> Result<Datagram, Stop> {
    let ip = packet.ip;
    let source = frame.at::<12>(0).ok_or(Stop::Refuse(Reason::Length))?;
    let from_group = source[6] & 1 != 0;
    let header = frame
        .at::<{ IP_LEN + UDP_LEN }>(ip)
        .ok_or(Stop::Refuse(Reason::Length))?;

    if header[6] & 0x20 != 0 {
        return Err(Stop::Refuse(Reason::Fragment));
    }
    // The IP total length is the packet's end: Ethernet pads short frames, and some switches add
    // trailers.
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let udp_len = usize::from(u16::from_be_bytes([header[24], header[25]]));
    if total_len != IP_LEN + udp_len || udp_len < UDP_LEN || ip + total_len > frame.len() {
        return Err(Stop::Refuse(Reason::Length));
    }
    if !ip_sum(header).is_right() {
        return Err(Stop::Refuse(Reason::Checksum));
    }
    let client = [header[12], header[13], header[14], header[15]];
    // This network, loopback, multicast, reserved and broadcast (RFC 6890).
    if from_group || matches!(client[0], 0 | 127 | 224..) {
        return Err(Stop::Refuse(Reason::SourceAddress));
    }
    let client_port = [header[20], header[21]];
    if !matches!(u16::from_be_bytes(client_port), 68 | PORT) {
        return Err(Stop::Refuse(Reason::SourcePort));
    }

    // One byte of options at least: their end.
    let bootp_len = udp_len - UDP_LEN;
    if bootp_len <= BOOTP_LEN {
        return Err(Stop::Refuse(Reason::Short));
    }
    let bootp = frame
        .at::<BOOTP_LEN>(ip + IP_LEN + UDP_LEN)
        .ok_or(Stop::Refuse(Reason::Length))?;
    check_bootp(bootp, client)?;
    Ok(Datagram {
        ip,
        bootp_len,
        client,
        server: [header[16], header[17], header[18], header[19]],
        client_port,
    })
}

/// Checks BOOTP's fixed part (RFC 2131, section 2).
#[inline(always)]
fn check_bootp(bootp: &[u8; BOOTP_LEN], client: [u8; 4]) -> Result<(), Stop> {
    if bootp[0] != 1 {
        return Err(Stop::Refuse(Reason::Op));
    }
    if [bootp[236], bootp[237], bootp[238], bootp[239]] != MAGIC_COOKIE {
        return Err(Stop::Refuse(Reason::Cookie));
    }
    if bootp[2] > 16 {
        return Err(Stop::Refuse(Reason::HardwareAddress));
    }
    if [bootp[24], bootp[25], bootp[26], bootp[27]] != [0; 4] {
        return Err(Stop::Refuse(Reason::Relayed));
    }
    if [bootp[12], bootp[13], bootp[14], bootp[15]] != client {
        return Err(Stop::Refuse(Reason::ClientAddress));
    }
    Ok(())
}

/// The sum of an IPv4 header without options, and of nothing that follows it.
#[inline(always)]
fn ip_sum(header: &[u8; IP_LEN + UDP_LEN]) -> Sum {
    let [a, b, c, d, e, ..] = *header.as_chunks::<4>().0 else {
        return Sum::default();
    };
    Sum::default().word(a).word(b).word(c).word(d).word(e)
}

/// The sum of UDP's pseudo header (RFC 768).
#[inline(always)]
pub(crate) fn pseudo_header(source: [u8; 4], destination: [u8; 4], udp_len: u16) -> Sum {
    Sum::default()
        .word(source)
        .word(destination)
        .number(UDP)
        .number(udp_len)
}

/// Whether the UDP checksum is right, or absent (0), which IPv4 allows.
#[inline(always)]
pub fn is_udp_checksum_right<F: Frame>(frame: &F, datagram: &Datagram) -> bool {
    let udp_len = datagram.bootp_len + UDP_LEN;
    let Some([.., 0, 0]) = frame.at::<UDP_LEN>(datagram.udp()) else {
        let Some(sum) = frame.sum(datagram.udp(), udp_len) else {
            return false;
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "16 bits are what it came in"
        )]
        let pseudo = pseudo_header(datagram.client, datagram.server, udp_len as u16);
        return sum.plus(pseudo).is_right();
    };
    true
}
