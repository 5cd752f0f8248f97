//! Turns a request into its reply, in place.

use core::mem;

use crate::PORT;
use crate::checksum::Sum;
use crate::frame::{Frame, NoRoom};
use crate::headers::{self, Datagram, IP_LEN, UDP_LEN};
use crate::judge::Answer;
use crate::template::{BODY_AT, MIN_BODY, SERVER_ID_AT, Template, UUID_AT, UUID_LEN, WORD};

/// What keeps a reply from being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The frame cannot grow to the reply's length; it is still the request.
    NoRoom,
    /// The frame is shorter than it said it was; it is spoilt.
    Spoilt,
}

impl From<NoRoom> for Fault {
    fn from(NoRoom: NoRoom) -> Self {
        Self::NoRoom
    }
}

/// Makes the request in `frame` the reply that `answer` says: to the MAC, VLAN, address and port
/// that it came from.
///
/// # Errors
///
/// See [`Fault`].
#[inline(always)]
pub fn write<F: Frame>(frame: &mut F, answer: &Answer<'_>) -> Result<(), Fault> {
    // First, because it can fail, and because it moves the frame.
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
    } = answer;
    let bootp = datagram.bootp();
    swap_macs(frame)?;
    let mut sum = write_bootp(frame, answer)?
        .plus(Sum::folded(template.sum))
        // It lies at an odd offset.
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
    let macs = frame.at_mut::<12>(0)?;
    let ([to, from], []) = macs.as_chunks_mut::<6>() else {
        return None;
    };
    mem::swap(to, from);
    Some(())
}

/// Writes BOOTP's fields up to `chaddr` and returns their sum.
///
/// `htype`, `hlen`, `xid`, `ciaddr` and `chaddr` stay as they came.
#[inline(always)]
fn write_bootp<F: Frame>(frame: &mut F, answer: &Answer<'_>) -> Option<Sum> {
    let server = answer.datagram.server;
    let siaddr = match answer.template.siaddr {
        [0, 0, 0, 0] => server,
        siaddr => siaddr,
    };
    let header = frame.at_mut::<BODY_AT>(answer.datagram.bootp())?;
    let ([op, xid, secs, ciaddr, yiaddr, next, giaddr, chaddr @ ..], []) =
        header.as_chunks_mut::<4>()
    else {
        return None;
    };
    *op = [2, op[1], op[2], 0];
    *secs = [0; 4];
    *yiaddr = [0; 4];
    *next = siaddr;
    *giaddr = [0; 4];
    let sum = Sum::default()
        .word(*op)
        .word(*xid)
        .word(*ciaddr)
        .word(siaddr);
    Some(chaddr.iter().fold(sum, |sum, word| sum.word(*word)))
}

/// Copies the template's body to `at`, word by word: BPF has no other way that is quick.
#[inline(always)]
fn copy_body<F: Frame>(frame: &mut F, at: usize, template: &Template) -> Option<()> {
    let (head, tail) = template.body.split_first_chunk::<MIN_BODY>()?;
    let (to, _) = frame.at_mut::<MIN_BODY>(at)?.as_chunks_mut::<WORD>();
    for (to, from) in to.iter_mut().zip(head.as_chunks::<WORD>().0) {
        *to = *from;
    }
    let mut from = MIN_BODY;
    for word in tail.as_chunks::<WORD>().0 {
        if from >= usize::from(template.len) {
            break;
        }
        *frame.at_mut::<WORD>(at + from)? = *word;
        from += WORD;
    }
    Some(())
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
    const TTL: u8 = 64;
    const UDP: u8 = 17;
    #[expect(clippy::cast_possible_truncation, reason = "at most 556")]
    let udp_len = (UDP_LEN + bootp_len) as u16;
    let total_len = const { IP_LEN as u16 } + udp_len;
    let header = frame.at_mut::<{ IP_LEN + UDP_LEN }>(datagram.ip)?;
    let ([version, id, ttl, source, destination, ports, length], []) = header.as_chunks_mut::<4>()
    else {
        return None;
    };
    let [len_high, len_low] = total_len.to_be_bytes();
    *version = [0x45, 0, len_high, len_low];
    // "Do not fragment" makes the identification meaningless (RFC 6864).
    *id = [0, 0, 0x40, 0];
    *source = datagram.server;
    *destination = datagram.client;
    let [check_high, check_low] = Sum::default()
        .word(*version)
        .word(*id)
        .word([TTL, UDP, 0, 0])
        .word(*source)
        .word(*destination)
        .field();
    *ttl = [TTL, UDP, check_high, check_low];

    let [port_high, port_low] = PORT.to_be_bytes();
    *ports = [
        port_high,
        port_low,
        datagram.client_port[0],
        datagram.client_port[1],
    ];
    let [len_high, len_low] = udp_len.to_be_bytes();
    let [check_high, check_low] = headers::pseudo_header(datagram.server, datagram.client, udp_len)
        .word(*ports)
        .number(udp_len)
        .plus(bootp)
        .udp_field();
    *length = [len_high, len_low, check_high, check_low];
    Some(())
}
