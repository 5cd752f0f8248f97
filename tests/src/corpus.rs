//! Frames of every kind, to hold different readers of them to one another: requests as firmware
//! sends them, requests with something changed, and noise. All of it follows from a seed.

use std::net::Ipv4Addr;

use fastrand::Rng;

use crate::architecture::{BIOS, UEFI_BC, UEFI_X64};
use crate::checksum::internet_checksum;
use crate::frame::Checksum;
use crate::{RequestFrame, VlanTag};

/// Requests that must be answered, by the fast path or by the full judgement.
pub fn requests(client: Ipv4Addr) -> Vec<RequestFrame> {
    let mut requests = Vec::new();
    for architecture in [BIOS, UEFI_X64, UEFI_BC] {
        requests.extend([
            RequestFrame::edk2(client, architecture),
            RequestFrame::ipxe(client, architecture),
            RequestFrame::legacy(client, architecture),
            RequestFrame::wdsmgfw(client, architecture),
            RequestFrame::edk2_discovery(client, architecture, 0x8001, 2),
        ]);
    }
    let plain = RequestFrame::edk2(client, UEFI_X64);
    let customer = VlanTag {
        protocol: 0x8100,
        control: 0x2064,
    };
    let provider = VlanTag {
        protocol: 0x88a8,
        control: 7,
    };
    requests.extend([
        RequestFrame {
            vlan_tags: vec![customer],
            ..plain.clone()
        },
        RequestFrame {
            vlan_tags: vec![provider, customer],
            ..plain.clone()
        },
        RequestFrame {
            ip_options: vec![7, 7, 4, 0, 0, 0, 0, 0],
            ..plain.clone()
        },
        RequestFrame {
            udp_checksum: Checksum::Zero,
            ..plain.clone()
        },
        RequestFrame {
            destination_mac: [255; 6],
            ..plain.clone()
        },
    ]);
    let mut padded = plain;
    padded
        .options
        .splice(1..1, (0..40).map(|_| (0, Vec::new())));
    requests.push(padded);
    requests
}

/// An endless row of random frames.
#[derive(Debug)]
pub struct Corpus {
    random: Rng,
    requests: Vec<RequestFrame>,
}

impl Corpus {
    /// The frames that follow from `seed`, from these clients.
    pub fn new(seed: u64, clients: &[Ipv4Addr]) -> Self {
        Self {
            random: Rng::with_seed(seed),
            requests: clients.iter().copied().flat_map(requests).collect(),
        }
    }

    /// The frames that follow from `seed`, made from these requests.
    pub fn of(seed: u64, requests: Vec<RequestFrame>) -> Self {
        Self {
            random: Rng::with_seed(seed),
            requests,
        }
    }

    /// The next frame: now a request as it should be, now one that is wrong in some way.
    pub fn frame(&mut self) -> Vec<u8> {
        let mut request = self.request();
        match self.random.u8(..8) {
            0 => request.bytes(),
            1 | 2 => self.with_changed_bytes(&request.bytes()),
            3 | 4 => {
                self.change_options(&mut request);
                request.bytes()
            }
            5 => {
                self.change_fields(&mut request);
                request.bytes()
            }
            6 => self.cut_short(&request.bytes()),
            _ => self.noise(&request.bytes()),
        }
    }

    fn request(&mut self) -> RequestFrame {
        let fallback = || RequestFrame::edk2(Ipv4Addr::new(10, 77, 1, 1), UEFI_X64);
        let mut request = self
            .random
            .choice(&self.requests)
            .cloned()
            .unwrap_or_else(fallback);
        request.xid = self.random.u32(..);
        request
    }

    /// A few bytes have other values, and mostly the checksums are right all the same.
    fn with_changed_bytes(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        for _ in 0..self.random.usize(1..5) {
            let at = self.random.usize(..frame.len());
            let value = self.random.u8(..);
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        if self.random.u8(..5) > 0 {
            mend_checksums(&mut frame);
        }
        frame
    }

    fn change_options(&mut self, request: &mut RequestFrame) {
        const CODES: [u8; 10] = [0, 43, 52, 53, 60, 93, 97, 255, 12, 77];
        for _ in 0..self.random.usize(1..12) {
            let code = self.random.choice(CODES).unwrap_or_default();
            let value = match (code, self.random.bool()) {
                (53, true) => vec![self.random.choice([3, 8]).unwrap_or_default()],
                (60, true) => b"PXEClient:Arch:00007".to_vec(),
                (93, true) if self.random.bool() => vec![7, 0],
                (93, true) => vec![0, 7, 0, 0],
                (97, true) => vec![0; 17],
                (43, true) => vec![71, 4, 1, 2, 3, 4, 255],
                (52, true) => vec![self.random.u8(..5)],
                _ => self.bytes(24),
            };
            let at = self.random.usize(..=request.options.len());
            request.options.insert(at, (code, value));
        }
        for _ in 0..self.random.usize(..3) {
            if !request.options.is_empty() {
                let at = self.random.usize(..request.options.len());
                request.options.remove(at);
            }
        }
        if self.random.u8(..4) == 0 {
            request.tail = self.bytes(8);
        }
        if self.random.u8(..8) == 0 {
            self.random.fill(&mut request.file);
        }
    }

    fn change_fields(&mut self, request: &mut RequestFrame) {
        let random = &mut self.random;
        match random.u8(..18) {
            0 => request.op = random.u8(..4),
            1 => request.hlen = random.u8(..),
            2 => request.giaddr = Ipv4Addr::from(random.u32(..)),
            3 => request.source = Ipv4Addr::from(random.u32(..)),
            4 => request.source_port = random.u16(..),
            5 => request.more_fragments = true,
            6 => request.fragment_offset = random.u16(..0x2000),
            7 => request.ip_checksum = Checksum::Wrong,
            8 => request.udp_checksum = Checksum::Wrong,
            9 => request.udp_checksum = Checksum::Unfinished,
            10 => request.udp_length = Some(random.u16(..700)),
            11 => request.ip_total_length = Some(random.u16(..700)),
            12 => request.ip_options = vec![1; 4 * random.usize(1..11)],
            13 => request.ciaddr = Ipv4Addr::UNSPECIFIED,
            14 => request.destination = Ipv4Addr::BROADCAST,
            15 => request.set_option(93, [7, 0]),
            16 => request.payload = Some(vec![1; random.usize(..250)]),
            _ => request.trailer = vec![0xa5; random.usize(..64)],
        }
    }

    fn cut_short(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        frame.truncate(self.random.usize(..frame.len()));
        if self.random.bool() {
            mend_checksums(&mut frame);
        }
        frame
    }

    /// Random bytes, mostly behind headers that lead to port 4011 at all.
    fn noise(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut noise = self.bytes(1500);
        if self.random.u8(..4) > 0 {
            for (to, from) in noise.iter_mut().zip(frame.iter().take(42)) {
                *to = *from;
            }
            mend_checksums(&mut noise);
        }
        noise
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.random.usize(..=most);
        std::iter::repeat_with(|| self.random.u8(..))
            .take(len)
            .collect()
    }
}

/// Puts right the checksums of an untagged frame without IP options, so that whatever was changed
/// in it is judged for itself.
pub fn mend_checksums(frame: &mut [u8]) {
    mend(frame);
}

fn mend(frame: &mut [u8]) -> Option<()> {
    const IP: usize = 14;
    const UDP: usize = IP + 20;
    if frame.get(12..15)? != [0x08, 0x00, 0x45] {
        return None;
    }
    frame.get_mut(IP + 10..IP + 12)?.fill(0);
    let checksum = internet_checksum(&[frame.get(IP..UDP)?]);
    frame
        .get_mut(IP + 10..IP + 12)?
        .copy_from_slice(&checksum.to_be_bytes());

    let length: [u8; 2] = frame.get(UDP + 4..UDP + 6)?.try_into().ok()?;
    let end = UDP + usize::from(u16::from_be_bytes(length));
    frame.get(UDP..end)?;
    frame.get_mut(UDP + 6..UDP + 8)?.fill(0);
    let checksum = internet_checksum(&[
        frame.get(IP + 12..UDP)?,
        &[0, 17],
        &length,
        frame.get(UDP..end)?,
    ]);
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    frame
        .get_mut(UDP + 6..UDP + 8)?
        .copy_from_slice(&checksum.to_be_bytes());
    Some(())
}
