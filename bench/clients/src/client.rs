//! A simulated client: what it sends, when, and the answer that it must get.

use std::net::Ipv4Addr;
use std::time::Duration;

use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::{Expected, RequestFrame};

/// The two kinds of firmware, whose retry times differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A BIOS machine with an iPXE network card.
    Bios,
    /// A UEFI machine with EDK2's network stack.
    Uefi,
}

impl Firmware {
    /// The times of its requests, counted from the first, and the time at which it gives up.
    pub(crate) fn clock(self) -> ([Duration; 4], Duration) {
        let milliseconds = Duration::from_millis;
        match self {
            Self::Bios => ([0, 250, 750, 1750].map(milliseconds), milliseconds(3750)),
            Self::Uefi => (
                [0, 1000, 3000, 6000].map(milliseconds),
                milliseconds(10_000),
            ),
        }
    }
}

/// A client of a storm.
#[derive(Clone, Debug)]
pub struct Client {
    /// The firmware whose retry times it uses.
    pub firmware: Firmware,
    /// The request it sends each time. The xid must be unique among the clients.
    pub request: RequestFrame,
    /// The answer that it must get; if `None`, any answer with its xid is right.
    pub expected: Option<Expected>,
}

impl Client {
    /// A client with this address that must be sent to this WinPE, see [`Expected::new`].
    pub fn new(firmware: Firmware, address: Ipv4Addr, winpe: &str) -> Self {
        let (architecture, request) = match firmware {
            Firmware::Bios => (BIOS, RequestFrame::ipxe(address, BIOS)),
            Firmware::Uefi => (UEFI_X64, RequestFrame::edk2(address, UEFI_X64)),
        };
        Self {
            firmware,
            request,
            expected: Some(Expected::new(winpe, architecture)),
        }
    }
}
