//! The DHCP options of a request (RFC 2132), and the facts in them that matter.

use crate::frame::Frame;
use crate::headers::Datagram;
use crate::nodes::{ARCHITECTURES, Lines, Nodes};
use crate::template::{Loader, UUID_LEN};
use crate::verdict::{Reason, Stop};

mod edk2;

/// The options this project reads or writes.
pub mod code {
    /// Padding, without a length.
    pub const PAD: u8 = 0;
    /// Vendor-specific information; PXE's sub-option 71 is the boot item asked for.
    pub const VENDOR: u8 = 43;
    /// Says that `file` and `sname` carry options, too.
    pub const OVERLOAD: u8 = 52;
    /// DHCP message type.
    pub const MESSAGE_TYPE: u8 = 53;
    /// Server identifier.
    pub const SERVER: u8 = 54;
    /// Parameters that the client asks for.
    pub const PARAMETERS: u8 = 55;
    /// The longest message that the client takes.
    pub const MAXIMUM_SIZE: u8 = 57;
    /// User class (RFC 3004).
    pub const USER_CLASS: u8 = 77;
    /// Relay agent information (RFC 3046).
    pub const RELAY: u8 = 82;
    /// Vendor class identifier.
    pub const VENDOR_CLASS: u8 = 60;
    /// Client system architecture (RFC 4578, section 2.1).
    pub const ARCHITECTURE: u8 = 93;
    /// Client network interface (RFC 4578, section 2.2).
    pub const INTERFACE: u8 = 94;
    /// Client machine identifier (RFC 4578, section 2.3).
    pub const UUID: u8 = 97;
    /// End of options, without a length.
    pub const END: u8 = 255;
}

/// DHCPREQUEST (RFC 2132, section 9.6).
pub(crate) const REQUEST: u8 = 3;

/// DHCPINFORM, which a client with an address may ask with (RFC 2131, section 3.4).
pub(crate) const INFORM: u8 = 8;

/// The beginning of every PXE client's vendor class (PXE 2.1, section 2.2.1).
pub(crate) const PXE_CLIENT: [u8; 9] = *b"PXEClient";

/// The number of options, pads included, that the fast path reads before it hands a request up.
/// Real clients send 6 to 13.
pub const MAX_STEPS: usize = 24;

/// The facts in a valid request.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The client's architecture; one with a loader is below
    /// [`ARCHITECTURES`].
    pub architecture: u8,
    /// The boot loader that it asks for.
    pub loader: Loader,
    /// The value of option 97, if it is there and well formed.
    pub uuid: Option<[u8; UUID_LEN]>,
}

/// The offsets in the frame of the options that matter (of their code bytes); 0 for those not
/// found, because no option can be there.
struct Found {
    message_type: usize,
    vendor_class: usize,
    architecture: usize,
    uuid: usize,
}

/// The UUID in the option at this offset of the frame, if it is option 97 and of the only type that
/// there is, 0 (RFC 4578, section 2.3).
#[inline(always)]
pub(crate) fn uuid<F: Frame>(frame: &F, at: usize) -> Option<&[u8; 16]> {
    match frame.at::<19>(at) {
        Some([code::UUID, 17, 0, uuid @ ..]) => Some(uuid),
        _ => None,
    }
}

/// Reads the options of a plain request: each that matters once, in the options field alone. Returns
/// the facts, and the offset in the frame at which option 97 would be.
///
/// # Errors
///
/// If a rule is broken, [`Stop::Refuse`] with that rule; if the full search is needed,
/// [`Stop::SlowPath`].
#[inline(always)]
pub fn walk<F: Frame, L: Lines + ?Sized>(
    frame: &F,
    datagram: &Datagram,
    nodes: &Nodes<'_, L>,
) -> Result<(Facts, usize), Stop> {
    let Read {
        architecture,
        loader,
        uuid_at,
    } = match edk2::read(frame, datagram, nodes) {
        Some(read) => read,
        None => search(frame, datagram, nodes)?,
    };
    let uuid_at = frame.bound(uuid_at);
    let facts = Facts {
        architecture,
        loader,
        uuid: match frame.at::<{ 2 + UUID_LEN }>(uuid_at) {
            Some([code::UUID, 17, uuid @ ..]) => Some(*uuid),
            _ => None,
        },
    };
    Ok((facts, uuid_at))
}

/// What is read of a request's options.
struct Read {
    architecture: u8,
    loader: Loader,
    /// The offset in the frame at which option 97 would be.
    uuid_at: usize,
}

/// Reads the options wherever they are.
#[inline(always)]
fn search<F: Frame, L: Lines + ?Sized>(
    frame: &F,
    datagram: &Datagram,
    nodes: &Nodes<'_, L>,
) -> Result<Read, Stop> {
    let found = find(frame, datagram)?;
    match frame.at::<3>(found.message_type) {
        Some([code::MESSAGE_TYPE, 1, REQUEST | INFORM]) => {}
        _ => return Err(Stop::Refuse(Reason::MessageType)),
    }
    match frame.at::<11>(found.vendor_class) {
        Some([code::VENDOR_CLASS, (9..), class @ ..]) if *class == PXE_CLIENT => {}
        _ if nodes.has_other_classes() => return Err(Stop::SlowPath),
        _ => return Err(Stop::Refuse(Reason::VendorClass)),
    }
    let (architecture, loader) = loader(frame, &found, nodes)?;
    Ok(Read {
        architecture,
        loader,
        uuid_at: found.uuid,
    })
}

/// Iterates over the options once and records the offsets of those that matter.
///
/// It is not inlined: alone, the loop has enough registers, whereas amid the rest of the judgement
/// it would spill them at each option.
#[inline(never)]
fn find<F: Frame>(frame: &F, datagram: &Datagram) -> Result<Found, Stop> {
    let end = datagram.bootp() + datagram.bootp_len;
    let mut next = datagram.options();
    let mut found = Found {
        message_type: frame.bound(0),
        vendor_class: frame.bound(0),
        architecture: frame.bound(0),
        uuid: frame.bound(0),
    };
    for _ in 0..MAX_STEPS {
        let at = frame.bound(next);
        if at >= end {
            break;
        }
        let Some([tag, len]) = frame.at(at) else {
            // This is the frame's last byte.
            return match frame.at(frame.bound(at)) {
                Some([code::END | code::PAD]) => Ok(found),
                _ => Err(Stop::Refuse(Reason::Options)),
            };
        };
        next = at + 2 + usize::from(*len);
        let place = match *tag {
            code::MESSAGE_TYPE => &mut found.message_type,
            code::VENDOR_CLASS => &mut found.vendor_class,
            code::ARCHITECTURE => &mut found.architecture,
            code::UUID => &mut found.uuid,
            code::VENDOR | code::OVERLOAD => return Err(Stop::SlowPath),
            code::PAD => {
                next = at + 1;
                continue;
            }
            code::END => return Ok(found),
            _ => continue,
        };
        // An option sent twice is one option in two parts (RFC 3396).
        if *place != 0 {
            return Err(Stop::SlowPath);
        }
        *place = at;
    }
    if next == end {
        return Ok(found);
    }
    if next > end {
        return Err(Stop::Refuse(Reason::Options));
    }
    Err(Stop::SlowPath)
}

/// The loader for the architecture that option 93 names, or else option 60.
#[inline(always)]
fn loader<F: Frame, L: Lines + ?Sized>(
    frame: &F,
    found: &Found,
    nodes: &Nodes<'_, L>,
) -> Result<(u8, Loader), Stop> {
    const NONE: Stop = Stop::Refuse(Reason::Architecture);
    match frame.at::<4>(found.architecture) {
        Some(&[code::ARCHITECTURE, len @ (2..), high, low]) if len % 2 == 0 => {
            match nodes.loader(u16::from_be_bytes([high, low])) {
                Some(loader) => Ok((low, loader)),
                // The first of the list that has a loader counts, so the slow path reads on.
                None if len > 2 => Err(Stop::SlowPath),
                // Its bytes may be swapped, and option 60 tells.
                None if low == 0 => Err(Stop::SlowPath),
                None => Err(NONE),
            }
        }
        _ => match frame.at::<{ 2 + CLASS_LEN }>(found.vendor_class) {
            Some([code::VENDOR_CLASS, (20..), class @ ..]) => {
                let number = class_architecture(class).map(usize::from);
                let number = number.filter(|number| *number < ARCHITECTURES);
                // Of a number that is made of digits, the compiler compares a copy with a bound, and
                // verifiers before Linux 6.3 do not see that the number has it, too.
                let number = frame.bound(number.ok_or(NONE)?);
                let [.., low] = number.to_be_bytes();
                Ok((low, nodes.loader(u16::from(low)).ok_or(NONE)?))
            }
            _ => Err(NONE),
        },
    }
}

/// The length of a vendor class up to the architecture's digits: `PXEClient:Arch:00007`.
pub(crate) const CLASS_LEN: usize = 20;

/// The architecture in a vendor class, `PXEClient:Arch:xxxxx:UNDI:yyyzzz` (PXE 2.1, section 2.2.1),
/// in decimal digits.
#[inline(always)]
pub(crate) fn class_architecture(class: &[u8; CLASS_LEN]) -> Option<u16> {
    let (head, architecture) = class.split_first_chunk::<9>()?;
    if *head != PXE_CLIENT {
        return None;
    }
    arch_digits(architecture.first_chunk()?)
}

/// The architecture behind a vendor class's own name: `:Arch:xxxxx`.
#[inline(always)]
pub(crate) fn arch_digits(text: &[u8; 11]) -> Option<u16> {
    let [head @ .., a, b, c, d, e] = text;
    if head != b":Arch:" {
        return None;
    }
    let mut number: u32 = 0;
    for digit in [a, b, c, d, e] {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u32::from(digit - b'0');
    }
    u16::try_from(number).ok()
}
