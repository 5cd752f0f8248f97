//! Turns a request into its reply, in place.

use core::mem;

use crate::PORT;
use crate::checksum::Sum;
use crate::frame::{Frame, NoRoom};
use crate::headers::{self, Datagram, IP_LEN, IpUdp, NAMES_LEN, UDP_LEN};
use crate::judge::Answer;
use crate::template::{BODY_AT, MAX_BODY, MIN_BODY, SERVER_ID_AT, Template, UUID_AT, UUID_LEN};
use crate::wire::{Bootp, Ethernet, Ipv4};

/// Why a reply cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The frame cannot grow to the reply's length; it is still the request.
    NoRoom,
    /// The frame is shorter than it claimed; it is corrupted.
    Spoilt,
}

impl From<NoRoom> for Fault {
    fn from(NoRoom: NoRoom) -> Self {
        Self::NoRoom
    }
}

/// Turns the request in `frame` into the reply `answer`, addressed to the MAC, VLAN, address and
/// port that the request came from.
///
/// # Errors
///
/// If the frame cannot grow, or is too short: see [`Fault`].
#[inline(always)]
pub fn write<F: Frame>(frame: &mut F, answer: &Answer<'_>) -> Result<(), Fault> {
    // Resizing comes first, because it can fail, and because it moves the frame.
    let len = answer.datagram.bootp() + BODY_AT + usize::from(answer.template.len);
    frame.resize(len)?;
    rewrite(frame, answer).ok_or(Fault::Spoilt)
}

#[inline(always)]
fn rewrite<F: Frame>(frame: &mut F, answer: &Answer<'_>) -> Option<()> {
    let Answer {
        datagram,
        template,
        uuid,
        ..
    } = answer;
    let bootp = datagram.bootp();
    swap_macs(frame)?;
    let mut sum = write_bootp(frame, answer)?
        .plus(Sum::folded(template.sum))
        // This address is at an odd offset.
        .plus(Sum::default().word(datagram.server).shifted());
    if let Some(uuid) = uuid {
        sum = sum.plus(uuid_sum(uuid));
    }
    write_ip_udp(frame, datagram, BODY_AT + usize::from(template.len), sum)?;
    copy_body(frame, bootp + BODY_AT, template)?;
    *frame.at_mut(bootp + SERVER_ID_AT)? = datagram.server;
    if let Some(uuid) = uuid {
        *frame.at_mut(bootp + UUID_AT)? = *uuid;
    }
    Some(())
}

#[inline(always)]
fn swap_macs<F: Frame>(frame: &mut F) -> Option<()> {
    let ethernet = frame.header_mut::<Ethernet>(0)?;
    mem::swap(&mut ethernet.destination, &mut ethernet.source);
    Some(())
}

/// Writes BOOTP's fields up to `chaddr` and returns their sum.
///
/// `htype`, `hlen`, `xid`, `ciaddr` and `chaddr` keep their values. Written values are summed from
/// their sources, and never read back, for which the processor would have to wait.
#[inline(always)]
fn write_bootp<F: Frame>(frame: &mut F, answer: &Answer<'_>) -> Option<Sum> {
    let server = answer.datagram.server;
    let siaddr = match u32::from_ne_bytes(answer.template.siaddr) {
        0 => server,
        _ => answer.template.siaddr,
    };
    let bootp = frame.header_mut::<Bootp>(answer.datagram.bootp())?;
    let (chaddr, _) = bootp.chaddr.as_chunks::<4>();
    let sum = Sum::default()
        .number(u16::from_be_bytes([Bootp::REPLY, bootp.htype]))
        .number(u16::from_be_bytes([bootp.hlen, 0]))
        .word(bootp.xid)
        .word(bootp.ciaddr)
        .word(siaddr);
    let sum = chaddr.iter().fold(sum, |sum, word| sum.word(*word));
    bootp.op = Bootp::REPLY;
    bootp.hops = 0;
    bootp.secs = [0; 2];
    bootp.flags = [0; 2];
    bootp.yiaddr = [0; 4];
    bootp.siaddr = siaddr;
    bootp.giaddr = [0; 4];
    Some(sum)
}

/// Copies the template's body to `at`: first `sname` and `file` together with the options of the
/// shortest reply that PXE allows, in one block, and then the rest in ever smaller pieces.
#[inline(always)]
fn copy_body<F: Frame>(frame: &mut F, at: usize, template: &Template) -> Option<()> {
    let (body, len) = (&template.body, usize::from(template.len));
    copy::<NAMES_LEN, F>(frame, at, body, 0)?;
    let mut done = NAMES_LEN;
    if len >= MIN_BODY {
        copy::<{ MIN_BODY - NAMES_LEN }, F>(frame, at, body, NAMES_LEN)?;
        done = MIN_BODY;
    }
    while done + WORD <= len {
        copy::<WORD, F>(frame, at, body, done)?;
        done += WORD;
    }
    if len & 4 != 0 {
        *frame.at_mut::<4>(at + done)? = *piece(body, done)?;
        done += 4;
    }
    if len & 2 != 0 {
        *frame.at_mut::<2>(at + done)? = *piece(body, done)?;
        done += 2;
    }
    if len & 1 != 0 {
        *frame.at_mut::<1>(at + done)? = *piece(body, done)?;
    }
    Some(())
}

/// The largest unit that a BPF instruction copies, and so the fastest, in bytes.
const WORD: usize = 8;

/// Copies the `N` bytes of the body at `from`, word by word.
#[inline(always)]
fn copy<const N: usize, F: Frame>(
    frame: &mut F,
    at: usize,
    body: &[u8; MAX_BODY],
    from: usize,
) -> Option<()> {
    let (to, _) = frame.at_mut::<N>(at + from)?.as_chunks_mut::<WORD>();
    let (words, _) = piece::<N>(body, from)?.as_chunks();
    for (to, word) in to.iter_mut().zip(words) {
        *to = *word;
    }
    Some(())
}

#[inline(always)]
fn piece<const N: usize>(body: &[u8; MAX_BODY], at: usize) -> Option<&[u8; N]> {
    body.get(at..)?.first_chunk()
}

#[inline(always)]
fn uuid_sum(uuid: &[u8; UUID_LEN]) -> Sum {
    let (words, rest) = uuid.as_chunks::<4>();
    let sum = words
        .iter()
        .fold(Sum::default(), |sum, word| sum.word(*word));
    match rest {
        [last] => sum.pair([*last, 0]),
        _ => sum,
    }
}

/// Writes the IP and UDP headers of the reply, whose BOOTP message has the sum `bootp`.
#[inline(always)]
pub(crate) fn write_ip_udp<F: Frame>(
    frame: &mut F,
    datagram: &Datagram,
    bootp_len: usize,
    bootp: Sum,
) -> Option<()> {
    write_ip_udp_from(PORT, frame, datagram, bootp_len, bootp)
}

/// Writes these headers of a reply from `port`.
#[inline(always)]
pub(crate) fn write_ip_udp_from<F: Frame>(
    port: u16,
    frame: &mut F,
    datagram: &Datagram,
    bootp_len: usize,
    bootp: Sum,
) -> Option<()> {
    const VERSION_IHL: u8 = 0x45;
    const TTL: u8 = 64;
    #[expect(clippy::cast_possible_truncation, reason = "at most 576")]
    let [udp_len, total_len] = [UDP_LEN, IP_LEN + UDP_LEN].map(|len| (len + bootp_len) as u16);
    let &Datagram {
        client,
        server,
        client_port,
        ..
    } = datagram;
    let IpUdp { ip, udp } = frame.header_mut(datagram.ip)?;
    ip.version_ihl = VERSION_IHL;
    ip.tos = 0;
    ip.total_len = total_len.into();
    // "Do not fragment" makes the identification meaningless (RFC 6864).
    ip.identification = 0.into();
    ip.fragment = Ipv4::DONT_FRAGMENT.into();
    ip.ttl = TTL;
    ip.protocol = Ipv4::UDP;
    ip.checksum = Sum::default()
        .number(u16::from_be_bytes([VERSION_IHL, 0]))
        .number(total_len)
        .number(Ipv4::DONT_FRAGMENT)
        .number(u16::from_be_bytes([TTL, Ipv4::UDP]))
        .word(server)
        .word(client)
        .field();
    ip.source = server;
    ip.destination = client;
    udp.source = port.into();
    udp.destination = client_port.into();
    udp.len = udp_len.into();
    udp.checksum = headers::pseudo_header(server, client, udp_len)
        .number(port)
        .number(client_port)
        .number(udp_len)
        .plus(bootp)
        .udp_field();
    Some(())
}
