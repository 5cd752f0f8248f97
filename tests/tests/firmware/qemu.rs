//! Virtual machines with real firmware.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::{Daemon, Namespace, bridge};

/// The network card's default ROM, as images for BIOS and for UEFI. SeaBIOS takes the first.
const IPXE_ROM: &str = "/usr/lib/ipxe/qemu/efi-virtio.rom";
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The firmware of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Firmware {
    /// SeaBIOS with iPXE as the network card's ROM.
    Bios,
    /// OVMF with EDK2's own PXE client.
    Uefi,
}

/// A machine that is switched on, on a bridge.
pub(crate) struct Machine {
    /// The process; what it prints is the serial console.
    pub(crate) console: Daemon,
    /// What its network card has sent and received: a capture, whole once the machine is stopped.
    pub(crate) capture: PathBuf,
}

pub(crate) fn install() -> Result<()> {
    ensure_installed("qemu-system-x86_64", "qemu-system-x86")?;
    ensure_installed(IPXE_ROM, "ipxe-qemu")?;
    ensure_installed(OVMF_CODE, "ovmf")
}

/// Switches a machine on. Its interface is a port of `bridge`, and its files are in `folder`.
pub(crate) fn start(
    namespace: &Namespace,
    bridge: &str,
    name: &str,
    firmware: Firmware,
    mac: [u8; 6],
    folder: &Path,
) -> Result<Machine> {
    let capture = folder.join(format!("{name}.pcap"));
    let [a, b, c, d, e, f] = mac;
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let mut command = Command::new("qemu-system-x86_64");
    // Emulated: KVM within another virtual machine may fail in the midst of firmware ("KVM internal
    // error"). Without graphics, SeaBIOS too writes to the serial console.
    command.args(["-machine", "q35,graphics=off", "-accel", "tcg"]);
    command.args(["-m", "256", "-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args(["-display", "none", "-serial", "stdio"]);
    // EDK2 wants random numbers.
    command.args(["-device", "virtio-rng-pci"]);
    // Without the header for unfinished checksums, the capture has plain frames.
    command.args([
        "-netdev",
        &format!("tap,id=net,ifname={name},script=no,downscript=no,vnet_hdr=off"),
    ]);
    let dump = capture.display();
    command.args([
        "-object",
        &format!("filter-dump,id=dump,netdev=net,file={dump}"),
    ]);
    let mut card = format!("virtio-net-pci,netdev=net,mac={mac},bootindex=0");
    if firmware == Firmware::Uefi {
        // EDK2's own client, and not iPXE.
        card.push_str(",romfile=");
    }
    command.args(["-device", &card]);
    if firmware == Firmware::Uefi {
        let variables = folder.join(format!("{name}.variables"));
        fs::copy(OVMF_VARIABLES, &variables).context("cannot copy OVMF's variables")?;
        let flash = format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}");
        command.args(["-drive", &flash]);
        let flash = format!("if=pflash,format=raw,unit=1,file={}", variables.display());
        command.args(["-drive", &flash]);
    }
    let console = Daemon::spawn(namespace, command)?;
    // It takes seconds until the firmware sends anything.
    bridge::add_port(namespace, bridge, name).with_context(|| console.log())?;
    Ok(Machine { console, capture })
}
