//! The outcomes of a judgement other than an answer.

/// Why a frame is not answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// To another host, which this one may be a router or a bridge of.
    NotOurs,
    /// Beyond what the fast path understands: [`crate::slow_path::judge`] decides.
    SlowPath,
    /// A request that must not be answered.
    Refuse(Reason),
    /// It would be answered, but its source has asked too often.
    Limited,
}

/// Why a request is refused.
///
/// The source of a UDP datagram can be forged, and a responder that answers anything can be
/// turned into a reflector or looped against itself: what no PXE client sends gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// An IPv4 fragment. No request is so long that it needs to be one.
    Fragment,
    /// The lengths of frame, IP packet and UDP datagram disagree.
    Length,
    /// The IP or the UDP checksum is wrong.
    Checksum,
    /// The source address (MAC or IPv4) is none that a single host can have.
    SourceAddress,
    /// The source port is neither 68 nor 4011.
    SourcePort,
    /// Fewer than 241 bytes of BOOTP.
    Short,
    /// `op` is not 1 (BOOTREQUEST).
    Op,
    /// The magic cookie is wrong (RFC 2131, section 3).
    Cookie,
    /// `hlen` is over 16.
    HardwareAddress,
    /// `giaddr` is set: relays do not forward to this port.
    Relayed,
    /// `ciaddr` is not the packet's source address.
    ClientAddress,
    /// An option runs past the end.
    Options,
    /// Option 53 is missing or is not REQUEST (3).
    MessageType,
    /// Option 60 is missing or does not begin with `PXEClient`.
    VendorClass,
    /// No architecture is named that there is a boot loader for.
    Architecture,
    /// The address belongs to no node in the table.
    Unknown,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 16] = [
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
    ];

    /// The name under which `status` counts it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
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
        }
    }
}
