//! One simulated client: what it sends, when, and what it must be told.

use std::net::Ipv4Addr;
use std::time::Duration;

use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::{Expected, RequestFrame};

/// The two kinds of firmware, which differ in their clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A BIOS machine with an iPXE network card.
    Bios,
    /// A UEFI machine with EDK2's network stack.
    Uefi,
}

impl Firmware {
    /// When it asks, counted from its first request; it gives up after the last time.
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
    /// Whose clock it keeps.
    pub firmware: Firmware,
    /// What it sends each time. Its xid must differ from the other clients'.
    pub request: RequestFrame,
    /// What it must be told; if nothing, any answer to its xid will do.
    pub expected: Option<Expected>,
}

impl Client {
    /// A client with this address that must be sent to this WinPE, as [`Expected::new`] has it.
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
