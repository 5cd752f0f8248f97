//! Reply templates: the parts of a reply that do not depend on the client.
//!
//! User space encodes one for each WinPE, each loader, and each case of whether the client sent a
//! UUID. Answering copies the template and patches in the variable parts, which are all at fixed
//! offsets:
//!
//! ```text
//! BOOTP   0        44         108    236     240    243     249  260       279
//!         header   sname: 0   file   cookie  53: 5  54: IP  60   97: UUID  252, 255, 0...
//!         patched  └──────────────── body ────────── patched ──── patched ───────────────┘
//! ```
//!
//! Without a UUID, option 252 directly follows option 60. The format of xCAT's own daemon has
//! neither 60 nor 97, and no zeros at its end.

use zerocopy::{Immutable, IntoBytes};

/// The length of the BOOTP header before the body in bytes: op to chaddr (RFC 2131, section 2).
pub const BODY_AT: usize = 44;

/// The offset of the value of option 54 (server identifier) from the start of the BOOTP message.
pub const SERVER_ID_AT: usize = 240 + 3 + 2;

/// The offset of the value of option 97 (client UUID) from the start of the BOOTP message.
pub const UUID_AT: usize = SERVER_ID_AT + 4 + 11 + 2;

/// The length of option 97's value: a type byte and the UUID (RFC 4578, section 2.3).
pub const UUID_LEN: usize = 17;

/// The length of the shortest body that PXE allows: BOOTP messages have at least 300 bytes (RFC
/// 1542, section 2.1). xCAT's format has shorter ones.
pub const MIN_BODY: usize = 300 - BODY_AT;

/// The length of the longest body: clients need not accept more than 548 bytes of BOOTP (RFC 2131,
/// section 2).
pub const MAX_BODY: usize = 548 - BODY_AT;

/// A reply without its patched parts. It has 512 bytes, which are eight cache lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C, align(8))]
pub struct Template {
    /// siaddr, the TFTP server; 0.0.0.0 stands for the address the client asked.
    pub siaddr: [u8; 4],
    /// The length of the used part of `body` in bytes, more than 192; zeros follow.
    pub len: u16,
    /// The folded one's-complement sum of `body` ([`crate::checksum::Sum::fold`]).
    pub sum: u16,
    /// The BOOTP message from sname on, with zeros where it is patched.
    pub body: [u8; MAX_BODY],
}

impl Template {
    /// A template's size in bytes.
    pub const SIZE: usize = size_of::<Self>();
}

/// One of the boot loaders that each WinPE provides, by its number, from 0. The table's
/// [`Header`](crate::nodes::Header) says which clients it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loader(pub u8);
