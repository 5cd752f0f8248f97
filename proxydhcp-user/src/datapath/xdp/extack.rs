//! Why the kernel refuses to attach a program, in its own words.
//!
//! A program is attached by a link, and a link's refusal is only an error code. Netlink's answer to
//! the same request contains the driver's message (`NETLINK_EXT_ACK`, Linux 4.12), so a request
//! that was refused as a link is repeated there.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, NlasIterator, parse_string,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::sys::interface::AttachMode;

// From `linux/if_link.h`.
const UPDATE_IF_NOEXIST: u32 = 1 << 0;
const GENERIC: u32 = 1 << 1;
const NATIVE: u32 = 1 << 2;
const REPLACE: u32 = 1 << 4;

/// `NLMSGERR_ATTR_MSG` of `linux/netlink.h`: the text of an extended acknowledgement.
const TEXT: u16 = 1;
/// The length of the request's header, which an acknowledgement repeats before its attributes, in
/// bytes.
const HEADER: usize = 16;
/// The size of the buffer in bytes. An acknowledgement is a few hundred bytes at most.
const ROOM: usize = 8192;

/// The kernel's message when `program` is attached in this mode to the interface with this number,
/// if there is one. If the kernel unexpectedly accepts, the program is detached at once.
///
/// # Errors
///
/// If netlink cannot be asked.
pub(super) fn in_the_kernels_words(
    interface: u32,
    program: BorrowedFd<'_>,
    mode: AttachMode,
) -> io::Result<Option<String>> {
    let program = program.as_raw_fd();
    let mode = match mode {
        AttachMode::Native => NATIVE,
        AttachMode::Generic => GENERIC,
    };
    let attach = [
        LinkXdp::Fd(program),
        LinkXdp::Flags(mode | UPDATE_IF_NOEXIST),
    ];
    let answer = ask(interface, attach.to_vec())?;
    if answer == Answer::Done {
        const NONE: RawFd = -1;
        let expected = u32::try_from(program).map_err(io::Error::other)?;
        let detach = [
            LinkXdp::Fd(NONE),
            LinkXdp::Flags(mode | REPLACE),
            LinkXdp::ExpectedFd(expected),
        ];
        ask(interface, detach.to_vec())?;
    }
    Ok(match answer {
        Answer::Done => None,
        Answer::Refused(text) => text,
    })
}

/// The answer to a change requested by netlink.
#[derive(PartialEq, Eq)]
enum Answer {
    Done,
    /// The change was refused, with the kernel's message if there is one.
    Refused(Option<String>),
}

/// Requests a change of an interface's XDP program.
fn ask(interface: u32, change: Vec<LinkXdp>) -> io::Result<Answer> {
    let mut link = LinkMessage::default();
    link.header.index = interface;
    link.attributes.push(LinkAttribute::Xdp(change));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_ext_ack(true)?;
    // Only the request's header is repeated in the answer, not all of it.
    socket.set_cap_ack(true)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request, 0)?;
    let mut answer = Vec::with_capacity(ROOM);
    socket.recv(&mut answer, 0)?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer);
    match answer.map_err(io::Error::other)?.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => {
            Ok(Answer::Refused(text(&error.header)))
        }
        NetlinkPayload::Error(_) => Ok(Answer::Done),
        _ => Err(io::Error::other("netlink gives no acknowledgement")),
    }
}

/// The message among the attributes of an acknowledgement.
fn text(acknowledgement: &[u8]) -> Option<String> {
    let attributes = acknowledgement.get(HEADER..)?;
    let mut attributes = NlasIterator::new(attributes).map_while(Result::ok);
    let text = attributes.find(|attribute| attribute.kind() == TEXT)?;
    let text = parse_string(text.value()).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An acknowledgement as Linux 6.18 sends it: the request's header, and attributes.
    fn acknowledgement(attributes: &[u8]) -> Vec<u8> {
        [&[0; HEADER], attributes].concat()
    }

    #[test]
    fn the_text_is_found_among_the_attributes() {
        // NLMSGERR_ATTR_OFFS = 20, then the text with its final zero, padded.
        let attributes = [
            &[8, 0, 2, 0, 20, 0, 0, 0][..],
            &[11, 0, 1, 0],
            b"no XDP\0\0",
        ];
        let found = text(&acknowledgement(&attributes.concat()));
        assert_eq!(found.as_deref(), Some("no XDP"));
    }

    #[test]
    fn no_text_is_made_of_what_has_none() {
        for attributes in [
            &[][..],
            &[8, 0, 2, 0, 20, 0, 0, 0],
            // An empty text, one that is longer than the message, and one that is not UTF-8.
            &[5, 0, 1, 0, 0, 0, 0, 0],
            &[40, 0, 1, 0, b'a', 0, 0, 0],
            &[7, 0, 1, 0, 0xff, 0xfe, 0, 0],
        ] {
            assert_eq!(text(&acknowledgement(attributes)), None, "{attributes:?}");
        }
        assert_eq!(text(&[]), None);
    }
}
