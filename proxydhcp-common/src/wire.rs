//! The headers of a request as they lie on the wire.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;

/// An IPv4 address, in network byte order.
pub type Address = [u8; 4];

/// The address of all hosts of the network.
pub const BROADCAST: Address = [255; 4];

/// Whether a client can have this address, which is not one of "this network", loopback, multicast,
/// reserved or broadcast (RFC 6890).
#[inline(always)]
#[must_use]
pub const fn is_client([first, ..]: Address) -> bool {
    !matches!(first, 0 | 127 | 224..)
}

/// Ethernet's header, up to the first VLAN tag.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// The destination address.
    pub destination: [u8; 6],
    /// The source address.
    pub source: [u8; 6],
    /// The type of what follows.
    pub ethertype: U16,
}

/// The tag after an [`ethertype`](Ethernet::ethertype) of [`VLAN`](ethertype::VLAN) or
/// [`PROVIDER_VLAN`](ethertype::PROVIDER_VLAN).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tag {
    /// Priority and VLAN number.
    pub control: U16,
    /// The type of what follows.
    pub ethertype: U16,
}

/// The ethertypes that matter.
pub mod ethertype {
    /// IP version 4.
    pub const IPV4: u16 = 0x0800;
    /// IEEE 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// IEEE 802.1ad.
    pub const PROVIDER_VLAN: u16 = 0x88a8;
}

/// IPv4's header without options (RFC 791).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    /// 4, and the header's length in words of four bytes.
    pub version_ihl: u8,
    /// Type of service.
    pub tos: u8,
    /// The length of the packet in bytes, header included.
    pub total_len: U16,
    /// Identifies the packet that a fragment belongs to.
    pub identification: U16,
    /// Three flags, and the fragment's offset in units of eight bytes.
    pub fragment: U16,
    /// The number of routers that the packet may still cross.
    pub ttl: u8,
    /// The protocol of the contents.
    pub protocol: u8,
    /// The checksum of the header.
    pub checksum: [u8; 2],
    /// The source address.
    pub source: Address,
    /// The destination address.
    pub destination: Address,
}

impl Ipv4 {
    /// Bits of [`fragment`](Self::fragment): do not fragment.
    pub const DONT_FRAGMENT: u16 = 0x4000;
    /// A bit of [`fragment`](Self::fragment): more fragments follow.
    pub const MORE_FRAGMENTS: u16 = 0x2000;
    /// The bits of [`fragment`](Self::fragment) that hold the fragment's offset.
    pub const FRAGMENT_OFFSET: u16 = 0x1fff;
    /// [`protocol`](Self::protocol): UDP.
    pub const UDP: u8 = 17;

    /// Length of the header in bytes, options included.
    #[inline(always)]
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl & 0x0f) * 4
    }

    /// The sum of the header without its options.
    #[inline(always)]
    #[must_use]
    pub fn sum(&self) -> Sum {
        let (words, _) = self.as_bytes().as_chunks::<4>();
        words
            .iter()
            .fold(Sum::default(), |sum, word| sum.word(*word))
    }
}

/// UDP's header (RFC 768).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// The source port.
    pub source: U16,
    /// The destination port.
    pub destination: U16,
    /// The length of the datagram in bytes, header included.
    pub len: U16,
    /// The checksum of addresses, header and contents; 0 for none.
    pub checksum: [u8; 2],
}

/// BOOTP's fixed part, with the cookie that identifies it as DHCP (RFC 2131, section 2).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Bootp {
    /// 1 for requests, 2 for replies.
    pub op: u8,
    /// The type of hardware address.
    pub htype: u8,
    /// The length of the hardware address in bytes.
    pub hlen: u8,
    /// The number of relays crossed.
    pub hops: u8,
    /// The client's number for this exchange.
    pub xid: [u8; 4],
    /// The number of seconds since the client began.
    pub secs: [u8; 2],
    /// The broadcast flag.
    pub flags: [u8; 2],
    /// The client's address.
    pub ciaddr: Address,
    /// The address given to the client.
    pub yiaddr: Address,
    /// The server to boot from.
    pub siaddr: Address,
    /// The address of the relay.
    pub giaddr: Address,
    /// The client's hardware address.
    pub chaddr: [u8; 16],
    /// The server's name.
    pub sname: [u8; 64],
    /// The path of the boot file.
    pub file: [u8; 128],
    /// The magic cookie: 99, 130, 83, 99.
    pub cookie: [u8; 4],
}

impl Bootp {
    /// [`op`](Self::op): a request.
    pub const REQUEST: u8 = 1;
    /// [`op`](Self::op): a reply.
    pub const REPLY: u8 = 2;
    /// The length of the longest text in [`file`](Self::file) in bytes, which leaves room for a
    /// NUL.
    pub const FILE_TEXT: usize = 127;
    /// [`cookie`](Self::cookie) (RFC 2131, section 3).
    pub const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
}
