//! Reply templates: all of a reply that does not depend on who asks.
//!
//! Userspace encodes one per WinPE, loader and "the client sent a UUID or not"; answering copies
//! it and patches in what varies, all of which lies at fixed places:
//!
//! ```text
//! BOOTP   0        44         108    236     240    243     249  260       279
//!         header   sname: 0   file   cookie  53: 5  54: IP  60   97: UUID  252, 255, 0...
//!         patched  └──────────────── body ────────── patched ──── patched ───────────────┘
//! ```
//!
//! Without a UUID, option 252 follows 60 at once.

use zerocopy::{Immutable, IntoBytes};

/// Bytes of the BOOTP header before the body: op to chaddr (RFC 2131, section 2).
pub const BODY_AT: usize = 44;

/// Where the value of option 54 (server identifier) lies, from the start of the BOOTP message.
pub const SERVER_ID_AT: usize = 240 + 3 + 2;

/// Where the value of option 97 (client UUID) lies, from the start of the BOOTP message.
pub const UUID_AT: usize = SERVER_ID_AT + 4 + 11 + 2;

/// Length of option 97's value: a type byte and the UUID (RFC 4578, section 2.3).
pub const UUID_LEN: usize = 17;

/// The shortest body: BOOTP messages have at least 300 bytes (RFC 1542, section 2.1).
pub const MIN_BODY: usize = 300 - BODY_AT;

/// The longest body: no client needs to take more than 548 bytes of BOOTP (RFC 2131, section 2).
pub const MAX_BODY: usize = 548 - BODY_AT;

/// A body's length is a multiple of this, filled up with zeros, so that it is copied in words.
pub const WORD: usize = 8;

/// A reply, less what is patched in. 512 bytes: eight cache lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C, align(8))]
pub struct Template {
    /// siaddr, the TFTP server; 0.0.0.0 stands for the address the client asked.
    pub siaddr: [u8; 4],
    /// The length of `body` in use: [`MIN_BODY`] to [`MAX_BODY`], a multiple of [`WORD`].
    pub len: u16,
    /// The folded one's-complement sum of `body` ([`crate::checksum::Sum::fold`]).
    pub sum: u16,
    /// The BOOTP message from sname on, zeros where it is patched.
    pub body: [u8; MAX_BODY],
}

impl Template {
    /// A template's size in bytes.
    pub const SIZE: usize = size_of::<Self>();
}

/// The boot loaders a WinPE has, by the firmware that runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// PC BIOS.
    Bios = 0,
    /// UEFI on x64.
    Uefi = 1,
}

impl Loader {
    /// All loaders, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Bios, Self::Uefi];

    /// The loader for a client of architecture `number` (RFC 4578, section 2.1, and its erratum:
    /// 7 and 9 both are UEFI x64), or `None` where there is none.
    #[inline(always)]
    #[must_use]
    pub const fn for_architecture(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::Bios),
            7 | 9 => Some(Self::Uefi),
            _ => None,
        }
    }
}

/// Templates of one WinPE: two for each loader.
pub const PER_WINPE: u32 = 4;

const _: () = assert!(PER_WINPE as usize == 2 * Loader::ALL.len());

/// The number of a template within its bank.
#[inline(always)]
#[must_use]
pub const fn number(winpe: u32, loader: Loader, uuid: bool) -> u32 {
    winpe
        .wrapping_mul(PER_WINPE)
        .wrapping_add(2 * loader as u32 + uuid as u32)
}
