//! The outcomes of a judgement other than an answer.

/// Why a frame is not answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is addressed to another host, for which this one may be a router or a bridge.
    NotOurs,
    /// It is beyond what the fast path understands: [`crate::slow_path::judge`] decides.
    SlowPath,
    /// It is a request that must not be answered.
    Refuse(Reason),
    /// It would be answered, but its source has exceeded the rate limit.
    Limited,
}

/// Why a request is refused.
///
/// The source of a UDP datagram can be forged, and a responder that answers anything can be abused
/// as a reflector or looped against itself. Therefore requests that no PXE client sends get no
/// answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// It was sent to 255.255.255.255: PXE clients ask a server's address, and another host may have
    /// to see it.
    Broadcast,
    /// It is an IPv4 fragment. No request is long enough to be fragmented.
    Fragment,
    /// The lengths of frame, IP packet and UDP datagram disagree.
    Length,
    /// The IP or the UDP checksum is wrong.
    Checksum,
    /// The source address (MAC or IPv4) is not one that a single host can have.
    SourceAddress,
    /// The source port is neither 68 nor 4011.
    SourcePort,
    /// It has fewer than 241 bytes of BOOTP.
    Short,
    /// `op` is not 1 (BOOTREQUEST).
    Op,
    /// The magic cookie is wrong (RFC 2131, section 3).
    Cookie,
    /// `hlen` is over 16.
    HardwareAddress,
    /// `giaddr` is set: relays do not forward to this port.
    Relayed,
    /// `ciaddr` is neither 0.0.0.0 nor the packet's source address.
    ClientAddress,
    /// An option runs past the end.
    Options,
    /// Option 53 is missing, or neither REQUEST (3) nor INFORM (8).
    MessageType,
    /// Option 60 is missing, or begins neither with `PXEClient` nor with another class that is served.
    VendorClass,
    /// It names no architecture that has a boot loader.
    Architecture,
    /// The address belongs to no node in the table.
    Unknown,
    /// Its address is that of one node, its hardware address or UUID that of another.
    Identity,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::Broadcast,
        Self::Fragment,
        Self::Length,
        Self::Checksum,
        Self::SourceAddress,
        Self::SourcePort,
        Self::Short,
        Self::Op,
        Self::Cookie,
        Self::HardwareAddress,
        Self::Relayed,
        Self::ClientAddress,
        Self::Options,
        Self::MessageType,
        Self::VendorClass,
        Self::Architecture,
        Self::Unknown,
        Self::Identity,
    ];

    /// The name under which `status` counts it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Fragment => "fragment",
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::SourceAddress => "source-address",
            Self::SourcePort => "source-port",
            Self::Short => "short",
            Self::Op => "op",
            Self::Cookie => "cookie",
            Self::HardwareAddress => "hardware-address",
            Self::Relayed => "relayed",
            Self::ClientAddress => "client-address",
            Self::Options => "options",
            Self::MessageType => "message-type",
            Self::VendorClass => "vendor-class",
            Self::Architecture => "architecture",
            Self::Unknown => "unknown-client",
            Self::Identity => "identity",
        }
    }
}
