//! A client's end of the wire, frame by frame.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::Namespace;
use crate::datagram::Datagram;
use crate::frame::{Checksum, RequestFrame};
use crate::packet::{FrameReceiver, FrameSender, OffloadingSender};

/// How long [`Tap::ask`] waits: far longer than any answer takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// Puts crafted frames on a wire and takes what arrives, tags and all.
#[derive(Debug)]
pub struct Tap {
    sender: FrameSender,
    offloading_sender: OffloadingSender,
    receiver: FrameReceiver,
    waiting: VecDeque<Vec<u8>>,
}

impl Tap {
    /// Opens a tap on `interface` in `namespace`.
    ///
    /// # Errors
    /// When a packet socket cannot be opened there.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        Ok(Self {
            sender: FrameSender::open(namespace, interface)?,
            offloading_sender: OffloadingSender::open(namespace, interface)?,
            receiver: FrameReceiver::open(namespace, interface, &[])?,
            waiting: VecDeque::new(),
        })
    }

    /// Sends a whole frame as it stands.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.sender.send(frame).context("cannot send a frame")
    }

    /// Sends a request as a local stack with checksum offload does: the UDP checksum unfinished,
    /// and flagged as such for the kernel.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send_offloaded(&self, request: &RequestFrame) -> Result<()> {
        let unfinished = RequestFrame {
            udp_checksum: Checksum::Unfinished,
            ..request.clone()
        };
        let udp_offset = u16::try_from(request.udp_offset())?;
        self.offloading_sender
            .send(&unfinished.bytes(), udp_offset)
            .context("cannot send an offloaded frame")
    }

    /// The next frame of any kind, or none within `timeout`.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(Some(frame));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let waiting = &mut self.waiting;
            let count = self
                .receiver
                .receive(left, |arrival| waiting.push_back(arrival.frame.to_vec()))?;
            if count == 0 && left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// The next UDP datagram from port 4011, or none within `timeout`; other frames are dropped.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn reply(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(frame) = self.receive(left)? else {
                return Ok(None);
            };
            if Datagram::parse(&frame).is_ok_and(|datagram| datagram.source_port == 4011) {
                return Ok(Some(frame));
            }
        }
    }

    /// Forgets what has arrived, sends a request, and waits for its reply.
    ///
    /// # Errors
    /// When no reply comes within two seconds, or a socket fails.
    pub fn ask(&mut self, request: &RequestFrame) -> Result<Vec<u8>> {
        while self.receive(Duration::ZERO)?.is_some() {}
        self.send(&request.bytes())?;
        self.reply(PATIENCE)?
            .with_context(|| format!("no reply within {PATIENCE:?}"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;
    use crate::architecture::UEFI_X64;
    use crate::frame::VlanTag;
    use crate::lab::{Lab, SERVER_ADDRESS, SERVER_INTERFACE};

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
    const SOON: Duration = Duration::from_secs(2);

    fn from_port_4011() -> RequestFrame {
        RequestFrame::edk2(CLIENT, UEFI_X64)
    }

    #[test]
    fn frames_cross_the_wire_unchanged() {
        let lab = Lab::new().unwrap();
        let client = lab.tap().unwrap();
        let mut server = Tap::open(&lab.server, SERVER_INTERFACE).unwrap();
        let tag = |protocol, control| VlanTag { protocol, control };
        for tags in [
            vec![],
            vec![tag(0x8100, 0x6064)],
            vec![tag(0x88a8, 0x0007), tag(0x8100, 0x0fff)],
        ] {
            let mut request = from_port_4011();
            request.vlan_tags = tags;
            request.trailer = vec![0; 9];
            client.send(&request.bytes()).unwrap();
            assert_eq!(server.reply(SOON).unwrap().unwrap(), request.bytes());
        }
    }

    #[test]
    fn a_tap_does_not_hear_itself() {
        let lab = Lab::new().unwrap();
        let mut client = lab.tap().unwrap();
        client.send(&from_port_4011().bytes()).unwrap();
        assert_eq!(client.reply(Duration::from_millis(50)).unwrap(), None);
    }

    #[test]
    fn the_kernel_vouches_for_an_offloaded_checksum_only() {
        let lab = Lab::new().unwrap();
        let client = lab.tap().unwrap();
        let mut wire = Tap::open(&lab.server, SERVER_INTERFACE).unwrap();
        let socket = lab
            .server
            .run(|| Ok(UdpSocket::bind((SERVER_ADDRESS, 4011))?))
            .unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut buffer = [0; 600];

        let mut forged = from_port_4011();
        forged.xid = 1;
        forged.udp_checksum = Checksum::Unfinished;
        client.send(&forged.bytes()).unwrap();
        assert_eq!(wire.reply(SOON).unwrap().unwrap(), forged.bytes());

        let mut offloaded = from_port_4011();
        offloaded.xid = 2;
        client.send_offloaded(&offloaded).unwrap();
        offloaded.udp_checksum = Checksum::Unfinished;
        assert_eq!(
            wire.reply(SOON).unwrap().unwrap(),
            offloaded.bytes(),
            "it must look the same"
        );

        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(
            buffer[..length],
            offloaded.bootp(),
            "the kernel takes the second one only"
        );
    }
}
