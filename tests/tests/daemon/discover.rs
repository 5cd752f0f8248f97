//! DISCOVERs as firmware sends them, and the offers to them as clients read them.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by what it says"
)]

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::BIOS;
use proxydhcp_lab::site::{Files, STRANGER, Site};
use proxydhcp_lab::{RequestFrame, SERVER_ADDRESS, SERVER_MAC};
use serde_json::Value;

/// A hang is noticed, and nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait for an offer that must not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(150);

pub(crate) const MAC_A: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xa];
pub(crate) const MAC_B: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xb];
pub(crate) const NOBODY: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x99];
/// The arguments of `serve`.
pub(crate) const KNOWN: [&str; 2] = ["--offers", "known"];
pub(crate) const ALL: [&str; 4] = ["--offers", "all", "--unknown", "default"];

/// The usual files, with the hardware addresses of a and b.
pub(crate) fn files() -> Result<Files> {
    let files = Files::usual()?;
    fs::write(
        files.path("proxydhcp.cfg.hardware"),
        "a mac=52:54:00:00:00:0a\nb mac=52:54:00:00:00:0b\n",
    )?;
    Ok(files)
}

/// The DISCOVER of a machine with this network card, as its firmware sends it.
pub(crate) fn discover(mac: [u8; 6], architecture: u16) -> RequestFrame {
    const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
    let mut discover = if architecture == BIOS {
        RequestFrame::legacy(STRANGER, architecture)
    } else {
        RequestFrame::edk2(STRANGER, architecture)
    };
    discover.source_mac = mac;
    discover.destination_mac = [0xff; 6];
    (discover.source, discover.destination) = (NONE, Ipv4Addr::BROADCAST);
    (discover.source_port, discover.destination_port) = (68, 67);
    discover.ciaddr = NONE;
    discover.flags = 0x8000;
    discover.xid = u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]]);
    discover.chaddr = [0; 16];
    discover.chaddr[..6].copy_from_slice(&mac);
    discover.set_option(53, [1]);
    discover
}

/// An offer, as a client reads it.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) to: [u8; 6],
    pub(crate) from: [u8; 6],
    pub(crate) source: (Ipv4Addr, u16),
    pub(crate) destination: (Ipv4Addr, u16),
    pub(crate) bootp: Vec<u8>,
    pub(crate) options: Vec<(u8, Vec<u8>)>,
}

impl Offer {
    /// Reads a frame, if it is a BOOTP reply from port 67. Its checksums must be right.
    fn read(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(14..34)?;
        let udp = frame.get(34..42)?;
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        if frame[12..14] != [8, 0] || ip[9] != 17 || port(0) != 67 || frame[42] != 2 {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        assert_eq!(length, frame.len() - 14);
        assert_eq!(sum(&[ip]), 0xffff, "the IP checksum");
        let pseudo = [&ip[12..20], &[0, 17], &udp[4..6]].concat();
        assert_eq!(sum(&[&pseudo, &frame[34..]]), 0xffff, "the UDP checksum");
        let bootp = frame[42..].to_vec();
        assert!((300..=576).contains(&bootp.len()), "{}", bootp.len());
        assert_eq!(bootp[236..240], [99, 130, 83, 99]);
        let mut options = Vec::new();
        let mut rest = &bootp[240..];
        while rest[0] != 255 {
            let (value, behind) = rest[2..].split_at(usize::from(rest[1]));
            options.push((rest[0], value.to_vec()));
            rest = behind;
        }
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        Some(Self {
            to: frame[..6].try_into().ok()?,
            from: frame[6..12].try_into().ok()?,
            source: (address(12), port(0)),
            destination: (address(16), port(2)),
            bootp,
            options,
        })
    }

    pub(crate) fn option(&self, code: u8) -> Option<&[u8]> {
        let mut options = self.options.iter().filter(|(is, _)| *is == code);
        let first = options.next().map(|(_, value)| value.as_slice());
        assert!(options.next().is_none(), "twice: {self:?}");
        first
    }

    pub(crate) fn xid(&self) -> u32 {
        u32::from_be_bytes(self.bootp[4..8].try_into().unwrap())
    }
}

pub(crate) fn sum(parts: &[&[u8]]) -> u32 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// The next offer within this time.
pub(crate) fn next(site: &mut Site, timeout: Duration) -> Result<Option<Offer>> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match site.tap.receive(left)? {
            None => return Ok(None),
            Some(frame) => {
                if let Some(offer) = Offer::read(&frame).filter(|it| it.from == SERVER_MAC) {
                    return Ok(Some(offer));
                }
            }
        }
    }
}

/// Sends a DISCOVER, and takes the offer to it, which it checks.
pub(crate) fn offered(site: &mut Site, discover: &RequestFrame) -> Result<Offer> {
    site.tap.send(&discover.bytes())?;
    let offer = next(site, PATIENCE)?.with_context(|| site.describe())?;
    let bootp = &offer.bootp;
    ensure!(offer.xid() == discover.xid && bootp[28..44] == discover.chaddr);
    ensure!(offer.source == (SERVER_ADDRESS, 67), "{offer:?}");
    // ciaddr, yiaddr, siaddr, giaddr; nothing that looks like a lease.
    ensure!(bootp[12..20] == [0; 8] && bootp[20..24] == SERVER_ADDRESS.octets());
    ensure!(bootp[24..28] == discover.giaddr.octets() && bootp[44..236] == [0; 192]);
    ensure!(offer.option(53) == Some(&[2]) && offer.option(60) == Some(b"PXEClient"));
    ensure!(offer.option(54) == Some(&SERVER_ADDRESS.octets()[..]));
    for lease in [1, 3, 6, 43, 51, 66, 67, 252] {
        ensure!(offer.option(lease).is_none(), "{lease}: {offer:?}");
    }
    Ok(offer)
}

pub(crate) fn is_not_offered(site: &mut Site, discover: &RequestFrame) -> Result<()> {
    site.tap.send(&discover.bytes())?;
    let offer = next(site, SILENCE)?;
    ensure!(offer.is_none(), "{offer:?}");
    Ok(())
}

pub(crate) fn offers(site: &Site) -> Result<Value> {
    let status = site.status()?;
    let offers = status.pointer("/interfaces/0/offers");
    offers
        .cloned()
        .with_context(|| format!("no offers in {status}"))
}
