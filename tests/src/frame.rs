//! Requests as whole Ethernet frames, right by default and wrong in any way that a test wants.

use std::net::Ipv4Addr;

use crate::checksum::{internet_checksum, sum};
use crate::datagram::pseudo_header;
use crate::lab::{SERVER_ADDRESS, SERVER_MAC, client_mac};

/// The magic cookie of RFC 2131 before the options.
pub(crate) const COOKIE: [u8; 4] = [99, 130, 83, 99];
const PAD: u8 = 0;
pub(crate) const END: u8 = 255;

/// A VLAN tag as it stands in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// The tag protocol: 0x8100 (802.1Q) or 0x88a8 (802.1ad).
    pub protocol: u16,
    /// The tag control information: priority, drop eligibility and VLAN number.
    pub control: u16,
}

/// What a checksum field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The right sum.
    Right,
    /// Zero: for UDP, "none was computed".
    Zero,
    /// Neither the right sum nor zero.
    Wrong,
    /// What an offloading stack leaves there for the device to finish: the pseudo header's sum.
    /// For the IP header, which is never offloaded so, the same as [`Checksum::Right`].
    Unfinished,
}

/// A request. The constructors give each firmware's shape; every field may be changed.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "the fields are those of the RFCs and are named as there"
)]
pub struct RequestFrame {
    pub destination_mac: [u8; 6],
    pub source_mac: [u8; 6],
    /// Outermost first.
    pub vlan_tags: Vec<VlanTag>,
    pub ether_type: u16,

    /// The header's length in words, if other than that of the header.
    pub ip_header_words: Option<u8>,
    pub type_of_service: u8,
    /// The total length, if other than that of the packet.
    pub ip_total_length: Option<u16>,
    pub ip_id: u16,
    pub dont_fragment: bool,
    pub more_fragments: bool,
    /// In units of 8 bytes.
    pub fragment_offset: u16,
    pub ttl: u8,
    pub protocol: u8,
    pub ip_checksum: Checksum,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// Padded with "end of options" to a whole word.
    pub ip_options: Vec<u8>,

    pub source_port: u16,
    pub destination_port: u16,
    /// The UDP length, if other than that of the datagram.
    pub udp_length: Option<u16>,
    pub udp_checksum: Checksum,

    pub op: u8,
    pub htype: u8,
    pub hlen: u8,
    pub hops: u8,
    pub xid: u32,
    pub secs: u16,
    pub flags: u16,
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub chaddr: [u8; 16],
    pub sname: [u8; 64],
    pub file: [u8; 128],
    pub cookie: [u8; 4],
    /// Code and value, in order. Code 0 (pad) and 255 (end) are single bytes.
    pub options: Vec<(u8, Vec<u8>)>,
    /// What follows the options: normally the end option.
    pub tail: Vec<u8>,
    /// Zeros follow the tail up to this length of the BOOTP message.
    pub minimum_length: usize,

    /// Stands in for the whole BOOTP message.
    pub payload: Option<Vec<u8>>,
    /// Follows the IP packet: Ethernet padding, or a trailer.
    pub trailer: Vec<u8>,
}

impl RequestFrame {
    /// A request without options from the lab's client with this address to the lab's server.
    pub fn bare(client: Ipv4Addr) -> Self {
        let mac = client_mac(client);
        let mut chaddr = [0; 16];
        for (to, from) in chaddr.iter_mut().zip(mac) {
            *to = from;
        }
        Self {
            destination_mac: SERVER_MAC,
            source_mac: mac,
            vlan_tags: Vec::new(),
            ether_type: 0x0800,
            ip_header_words: None,
            type_of_service: 0,
            ip_total_length: None,
            ip_id: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: 17,
            ip_checksum: Checksum::Right,
            source: client,
            destination: SERVER_ADDRESS,
            ip_options: Vec::new(),
            source_port: 68,
            destination_port: 4011,
            udp_length: None,
            udp_checksum: Checksum::Right,
            op: 1,
            htype: 1,
            hlen: 6,
            hops: 0,
            // Unlike between clients, and easy to find in a dump.
            xid: u32::from(client).rotate_left(16),
            secs: 0,
            flags: 0,
            ciaddr: client,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
            sname: [0; 64],
            file: [0; 128],
            cookie: COOKIE,
            options: Vec::new(),
            tail: vec![END],
            minimum_length: 0,
            payload: None,
            trailer: Vec::new(),
        }
    }

    /// Any UDP payload from the lab's client with this address and this port.
    pub fn carrying(client: Ipv4Addr, source_port: u16, payload: Vec<u8>) -> Self {
        Self {
            source_port,
            payload: Some(payload),
            ..Self::bare(client)
        }
    }

    /// The value of the first option with this code.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options
            .iter()
            .find(|(at, _)| *at == code)
            .map(|(_, value)| value.as_slice())
    }

    /// Gives the first option with this code another value, or adds the option at the end.
    pub fn set_option(&mut self, code: u8, value: impl Into<Vec<u8>>) {
        match self.options.iter_mut().find(|(at, _)| *at == code) {
            Some((_, old)) => *old = value.into(),
            None => self.options.push((code, value.into())),
        }
    }

    /// Takes out all options with this code.
    pub fn remove_option(&mut self, code: u8) {
        self.options.retain(|(at, _)| *at != code);
    }

    /// The BOOTP message: the UDP payload, unless `payload` stands in for it.
    pub fn bootp(&self) -> Vec<u8> {
        let mut message = vec![self.op, self.htype, self.hlen, self.hops];
        message.extend(self.xid.to_be_bytes());
        message.extend(self.secs.to_be_bytes());
        message.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            message.extend(address.octets());
        }
        message.extend(self.chaddr);
        message.extend(self.sname);
        message.extend(self.file);
        message.extend(self.cookie);
        for (code, value) in &self.options {
            message.push(*code);
            if !matches!(*code, PAD | END) {
                message.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
            }
            message.extend(value);
        }
        message.extend(&self.tail);
        message.resize(message.len().max(self.minimum_length), 0);
        message
    }

    /// Where the UDP header begins in the frame.
    pub fn udp_offset(&self) -> usize {
        14 + 4 * self.vlan_tags.len() + 20 + self.ip_options.len().next_multiple_of(4)
    }

    /// The whole frame.
    pub fn bytes(&self) -> Vec<u8> {
        let payload = self.payload.clone().unwrap_or_else(|| self.bootp());
        let udp = self.udp(&payload);
        let mut frame = Vec::with_capacity(self.udp_offset() + udp.len() + self.trailer.len());
        frame.extend(self.destination_mac);
        frame.extend(self.source_mac);
        for tag in &self.vlan_tags {
            frame.extend(tag.protocol.to_be_bytes());
            frame.extend(tag.control.to_be_bytes());
        }
        frame.extend(self.ether_type.to_be_bytes());
        frame.extend(self.ip_header(udp.len()));
        frame.extend(udp);
        frame.extend(&self.trailer);
        frame
    }

    fn ip_header(&self, udp_length: usize) -> Vec<u8> {
        let mut options = self.ip_options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let length = 20 + options.len();
        let words = self
            .ip_header_words
            .unwrap_or(u8::try_from(length / 4).unwrap_or(u8::MAX));
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(self.more_fragments) << 13;
        let mut header = vec![4 << 4 | words & 0x0f, self.type_of_service];
        header.extend(
            self.ip_total_length
                .unwrap_or(narrow(length + udp_length))
                .to_be_bytes(),
        );
        header.extend(self.ip_id.to_be_bytes());
        header.extend((flags | self.fragment_offset & 0x1fff).to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(options);
        let right = internet_checksum(&[&header]);
        let checksum = match self.ip_checksum {
            Checksum::Right | Checksum::Unfinished => right,
            Checksum::Zero => 0,
            Checksum::Wrong => wrong(right),
        };
        put(&mut header, 10, checksum);
        header
    }

    fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let length = self.udp_length.unwrap_or(narrow(8 + payload.len()));
        let mut datagram = Vec::with_capacity(8 + payload.len());
        for word in [self.source_port, self.destination_port, length, 0] {
            datagram.extend(word.to_be_bytes());
        }
        datagram.extend(payload);
        let pseudo = pseudo_header(self.source, self.destination, length.into());
        // A sum of zero is sent as all ones: zero means "none".
        let right = match internet_checksum(&[&pseudo, &datagram]) {
            0 => 0xffff,
            sum => sum,
        };
        let checksum = match self.udp_checksum {
            Checksum::Right => right,
            Checksum::Zero => 0,
            Checksum::Wrong => wrong(right),
            Checksum::Unfinished => sum(&[&pseudo]),
        };
        put(&mut datagram, 6, checksum);
        datagram
    }
}

/// Neither the right sum, nor "none", nor the other form of zero.
fn wrong(right: u16) -> u16 {
    if right == 0x1234 { 0x4321 } else { 0x1234 }
}

fn narrow(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    for (to, from) in bytes.iter_mut().skip(at).zip(word.to_be_bytes()) {
        *to = from;
    }
}
