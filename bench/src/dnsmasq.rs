//! dnsmasq as a contender: the proxyDHCP server that most sites have at hand.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_lab::SERVER_INTERFACE;
use rustix::process::geteuid;

/// Installs it where that is one command.
pub(crate) fn ensure_installed() -> Result<()> {
    if is_installed() {
        return Ok(());
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !release.contains("debian") || !geteuid().is_root() {
        bail!("dnsmasq is not installed: install it, or leave it out by --contenders");
    }
    let output = Command::new("apt-get")
        .args([
            "install",
            "--yes",
            "--no-install-recommends",
            "dnsmasq-base",
        ])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("cannot start apt-get")?;
    ensure!(
        output.status.success() && is_installed(),
        "apt-get cannot install dnsmasq-base: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn is_installed() -> bool {
    let version = Command::new("dnsmasq")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// A proxyDHCP server for the lab's network: no DNS, no log lines for requests, one WinPE for all
/// clients, which is less work than one by node.
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
