//! A node: what its machine boots, and how it came there.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use proxydhcp_lab::capture;

use crate::qemu::{Firmware, Machine};
use crate::{loader, tftp};

/// How long a machine may take until its loader runs: emulated, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);

/// A node, and the WinPE that its record names.
#[derive(Clone, Copy)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) address: Ipv4Addr,
    pub(crate) firmware: Firmware,
    pub(crate) winpe: &'static str,
}

impl Node {
    pub(crate) fn loader(&self) -> String {
        let loader = match self.firmware {
            Firmware::Bios => "pxeboot.0",
            Firmware::Uefi => "bootmgfw.efi",
        };
        format!("{}Boot/{loader}", self.winpe)
    }

    /// The firmware's line on the console when it fetches the loader.
    fn report(&self) -> String {
        match self.firmware {
            Firmware::Bios => format!("Filename: {}", self.loader()),
            Firmware::Uefi => format!("NBP filename is {}", self.loader()),
        }
    }

    /// The line that the loader prints, and no other loader.
    fn line(&self) -> String {
        line_of(&self.loader())
    }

    pub(crate) fn program(&self) -> Result<Vec<u8>> {
        self.firmware.program(&self.line())
    }

    /// Waits until a loader runs: the node's, or that of another proxy. Returns whether it is the node's.
    pub(crate) fn has_booted_something(&self, machine: &mut Machine) -> Result<bool> {
        let line = machine.console.wait_for("The loader ", PATIENCE)?;
        let other = line_of(self.firmware.other_loader());
        ensure!(
            line.contains(&self.line()) || line.contains(&other),
            "it runs {line}"
        );
        machine.console.stop()?;
        Ok(line.contains(&self.line()))
    }

    /// Waits until the loader runs, and looks at how it came there.
    pub(crate) fn has_booted(&self, machine: &mut Machine) -> Result<()> {
        machine.console.wait_for(&self.line(), PATIENCE)?;
        machine.console.wait_for(&self.report(), Duration::ZERO)?;
        // The capture ends with the machine.
        machine.console.stop()?;

        let transfers = tftp::transfers(&capture::frames_of(&machine.capture)?)?;
        ensure!(
            transfers.asked == HashSet::from([self.loader()]),
            "the firmware asked for {:?}, and not for {} alone",
            transfers.asked,
            self.loader()
        );
        let program = self.program()?;
        ensure!(
            transfers
                .whole
                .iter()
                .any(|(_, content)| *content == program),
            "no transfer of {} was complete",
            self.loader()
        );
        Ok(())
    }
}

impl Firmware {
    /// The file that another proxy has for it.
    pub(crate) fn other_loader(self) -> &'static str {
        match self {
            Self::Bios => "other.0",
            Self::Uefi => "other.efi",
        }
    }

    /// What that proxy's loader is.
    pub(crate) fn other_program(self) -> Result<Vec<u8>> {
        self.program(&line_of(self.other_loader()))
    }

    fn program(self, line: &str) -> Result<Vec<u8>> {
        match self {
            Self::Bios => loader::bios(line),
            Self::Uefi => loader::uefi(line),
        }
    }
}

/// The line that a loader prints.
fn line_of(loader: &str) -> String {
    format!("The loader {loader} runs.")
}
