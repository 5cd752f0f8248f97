//! dnsmasq as a contender: the proxyDHCP server that most sites have at hand.

use std::process::Command;

use anyhow::{Context, Result};
use proxydhcp_lab::{SERVER_INTERFACE, debian};

/// Installs dnsmasq if that takes only one command.
pub(crate) fn ensure_installed() -> Result<()> {
    debian::ensure_installed("dnsmasq", "dnsmasq-base").context("or leave it out with --contenders")
}

/// A proxyDHCP server for the lab's network: no DNS, no log lines for requests, and one WinPE for
/// all clients, which is less work than one for each node.
pub(crate) fn command() -> Command {
    let mut command = Command::new("dnsmasq");
    command.args([
        "--no-daemon",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
        "--port=0",
        "--quiet-dhcp",
        "--no-ping",
        "--dhcp-range=10.77.0.0,proxy,255.255.0.0",
        "--pxe-service=x86PC,WinPE,winboot/winpe-00/Boot/pxeboot.0",
        "--pxe-service=BC_EFI,WinPE,winboot/winpe-00/Boot/bootmgfw.efi",
        "--pxe-service=X86-64_EFI,WinPE,winboot/winpe-00/Boot/bootmgfw.efi",
        "--dhcp-option-force=252,winboot/winpe-00/Boot/BCD",
    ]);
    command.arg(format!("--interface={SERVER_INTERFACE}"));
    command
}
