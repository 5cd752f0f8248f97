//! A frame that is sent many times, each time with another xid.

use anyhow::{Context, Result};
use proxydhcp_lab::RequestFrame;

/// The offset of the xid in a UDP datagram with a BOOTP message.
const XID_OFFSET: usize = 8 + 4;
const CHECKSUM_OFFSET: usize = 6;

/// The bytes of a frame whose xid is still zero.
#[derive(Debug)]
pub(crate) struct NumberedFrame {
    bytes: Vec<u8>,
    udp_offset: usize,
    checksum: u16,
}

impl NumberedFrame {
    pub(crate) fn new(frame: &RequestFrame) -> Result<Self> {
        let udp_offset = frame.udp_offset();
        let bytes = RequestFrame {
            xid: 0,
            ..frame.clone()
        }
        .bytes();
        let checksum = bytes
            .get(udp_offset + CHECKSUM_OFFSET..)
            .and_then(<[u8]>::first_chunk)
            .context("a request too short for a number")?;
        let checksum = u16::from_be_bytes(*checksum);
        Ok(Self {
            bytes,
            udp_offset,
            checksum,
        })
    }

    /// Writes the frame with this xid into `frame`, and updates its UDP checksum (RFC 1624).
    pub(crate) fn write(&self, xid: u32, frame: &mut Vec<u8>) {
        frame.clear();
        frame.extend_from_slice(&self.bytes);
        put(frame, self.udp_offset + XID_OFFSET, &xid.to_be_bytes());
        if self.checksum != 0 {
            let mut sum = u32::from(!self.checksum) + (xid >> 16) + (xid & 0xffff);
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            let checksum = match !u16::try_from(sum).unwrap_or(u16::MAX) {
                0 => 0xffff,
                checksum => checksum,
            };
            put(
                frame,
                self.udp_offset + CHECKSUM_OFFSET,
                &checksum.to_be_bytes(),
            );
        }
    }
}

fn put(frame: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proxydhcp_lab::architecture::UEFI_X64;

    use super::*;

    #[test]
    fn a_numbered_frame_is_as_if_built_with_its_number() {
        let mut request = RequestFrame::edk2(Ipv4Addr::new(10, 77, 1, 1), UEFI_X64);
        let numbered = NumberedFrame::new(&request).unwrap();
        let mut frame = Vec::new();
        // The lower halves include all that make the sum carry or become zero.
        for xid in (0..=0xffff).chain([0xffff_0000, 0xffff_ffff, 0x8000_8000]) {
            request.xid = xid;
            numbered.write(xid, &mut frame);
            assert_eq!(frame, request.bytes(), "xid {xid:#x}");
        }
    }
}
