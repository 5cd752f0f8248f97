//! Reads the options of EDK2, from which nearly all UEFI firmware is built: they are always the same, in the
//! same order and of the same lengths, so each value lies at a known place, and none has to be searched
//! for. Other firmware is left to the search: iPXE, for one, lists its features, and has others in each build.

use super::{INFORM, PXE_CLIENT, REQUEST, Read, code};
use crate::frame::Frame;
use crate::headers::Datagram;
use crate::nodes::{Lines, Nodes};

/// The options, each with its code and its length (`NetworkPkg/UefiPxeBcDxe/PxeBcDhcp4.c`).
const OPTIONS: [(u8, u8); 7] = [
    (code::MESSAGE_TYPE, 1),
    (code::PARAMETERS, 35),
    (code::MAXIMUM_SIZE, 2),
    (code::VENDOR_CLASS, 32),
    (code::ARCHITECTURE, 2),
    (code::INTERFACE, 3),
    (code::UUID, 17),
];

/// The number of bytes that they take, with the one that ends them.
const LEN: usize = offset_of(code::END) + 1;

/// The offset of an option from the first one; of one that is not there, the offset of the end.
const fn offset_of(wanted: u8) -> usize {
    let (mut offset, mut rest) = (0, OPTIONS.as_slice());
    while let [(option, len), others @ ..] = rest {
        if *option == wanted {
            break;
        }
        offset += 2 + *len as usize;
        rest = others;
    }
    offset
}

/// Reads the options, if they are EDK2's and the search would accept them, too, and say the same of them.
#[inline(always)]
pub(super) fn read<F: Frame, L: Lines + ?Sized>(
    frame: &F,
    datagram: &Datagram,
    nodes: &Nodes<'_, L>,
) -> Option<Read> {
    // One number for all that is read, so that one comparison with the packet's end is enough.
    let start = frame.bound(datagram.options());
    let bytes: &[u8; LEN] = frame.at(start)?;
    // A branch for each option would cost more than to compare all of them.
    let [.., last] = *bytes;
    let mut differs = u16::from(last ^ code::END);
    for (option, len) in OPTIONS {
        let head = u16::from_ne_bytes(value(bytes, offset_of(option))?);
        differs |= head ^ u16::from_ne_bytes([option, len]);
    }
    let [message_type] = value(bytes, const { offset_of(code::MESSAGE_TYPE) + 2 })?;
    let class: [u8; 9] = value(bytes, const { offset_of(code::VENDOR_CLASS) + 2 })?;
    if differs != 0
        || start + LEN > datagram.bootp() + datagram.bootp_len
        || !matches!(message_type, REQUEST | INFORM)
        || class != PXE_CLIENT
    {
        return None;
    }
    let architecture = value(bytes, const { offset_of(code::ARCHITECTURE) + 2 })?;
    let [_, low] = architecture;
    Some(Read {
        architecture: low,
        loader: nodes.loader(u16::from_be_bytes(architecture))?,
        uuid_at: start + const { offset_of(code::UUID) },
    })
}

/// The bytes at this offset.
#[inline(always)]
fn value<const N: usize>(bytes: &[u8; LEN], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::vec::Vec;

    use zerocopy::FromBytes;

    use proxydhcp_lab::RequestFrame;
    use proxydhcp_lab::architecture::UEFI_X64;
    use proxydhcp_lab::capture::frames;

    use super::*;
    use crate::frame::Slice;
    use crate::headers::{admit, find};
    use crate::nodes::{Header, Line};
    use crate::template::Loader;

    /// Of each request, whether it is read here.
    fn are_read(frames: Vec<Vec<u8>>) -> Vec<bool> {
        let mut header = Header::read_from_bytes(&[0; Line::SIZE]).unwrap();
        header.loaders.set(usize::from(UEFI_X64), Loader(0));
        let lines = [header.line()];
        let nodes = Nodes::open(&lines[..]).unwrap();
        let mut read = Vec::new();
        for mut bytes in frames {
            let len = bytes.len();
            let frame = Slice::new(&mut bytes, len).unwrap();
            let request = find(&frame).and_then(|packet| admit(&frame, &packet).ok());
            read.extend(request.map(|datagram| super::read(&frame, &datagram, &nodes).is_some()));
        }
        read
    }

    #[test]
    fn captured_requests_are_read() {
        let frames = frames("edk2-uefi.pcap").unwrap();
        let read = are_read(frames);
        assert!(
            !read.is_empty() && read.iter().all(|read| *read),
            "{read:?}"
        );
    }

    #[test]
    fn whatever_is_otherwise_is_left_to_the_search() {
        let client = Ipv4Addr::new(10, 77, 1, 1);
        let usual = RequestFrame::edk2(client, UEFI_X64);
        let mut frames = std::vec![usual.bytes()];
        for number in 0..usual.options.len() {
            let mut other = usual.clone();
            other.options[number].0 = 250;
            frames.push(other.bytes());
            let mut other = usual.clone();
            other.options[number].1.push(0);
            frames.push(other.bytes());
        }
        let mut other = usual.clone();
        other.options[0].1 = std::vec![5];
        frames.push(other.bytes());
        other = usual.clone();
        other.options[3].1[8] = b'T';
        frames.push(other.bytes());
        other = usual.clone();
        other.options[4].1[1] = 99;
        frames.push(other.bytes());
        let read = are_read(frames);
        assert_eq!(read.len(), 18);
        assert_eq!(read.iter().position(|read| *read), Some(0));
        assert_eq!(read.iter().filter(|read| **read).count(), 1);
    }
}
