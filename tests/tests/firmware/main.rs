//! Real firmware boots from a service node: SeaBIOS with iPXE, and OVMF with EDK2's PXE client, in
//! virtual machines. ISC dhcpd, Kea or dnsmasq, configured by `proxydhcp dhcp-conf`, gives them
//! their addresses, proxydhcp their boot loaders, and a TFTP server the files.
//!
//! These tests need root, the binary that `cargo xtask test` builds, and Debian packages, which
//! they install where they are missing: qemu-system-x86, ipxe-qemu, ovmf, isc-dhcp-server,
//! kea-dhcp4-server and dnsmasq-base. No service of theirs is started. All else is in private
//! networks, and ends with the tests.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::Result;
use proxydhcp_lab::alone;
use proxydhcp_lab::site::Datapath;

use cluster::{Manner, Node, boot};
use dhcp_server::DhcpServer;
use qemu::Firmware;

mod cluster;
mod dhcp_server;
mod handoff;
mod loader;
mod qemu;
mod tftp;

const BIOS: Node = Node {
    name: "bios",
    address: Ipv4Addr::new(10, 77, 1, 1),
    firmware: Firmware::Bios,
    winpe: "winboot/winpe-a/",
};
const UEFI: Node = Node {
    name: "uefi",
    address: Ipv4Addr::new(10, 77, 1, 2),
    firmware: Firmware::Uefi,
    winpe: "winboot/winpe-b/",
};

/// Boots `nodes` together. One cluster boots at a time, for emulated machines load the real one.
fn boots(manner: &Manner<'_>, nodes: &[Node]) -> Result<()> {
    let _alone = alone();
    let started = Instant::now();
    boot(manner, nodes)?;
    println!(
        "{} machines have booted by {:?} and {:?} in {:.1?}",
        nodes.len(),
        manner.dhcp_server,
        manner.datapath,
        started.elapsed()
    );
    Ok(())
}

#[test]
fn firmware_boots_with_isc_dhcpd() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Isc,
        hand_off: &["bios,uefi"],
        datapath: Datapath::Native,
    };
    boots(&manner, &[BIOS, UEFI])
}

#[test]
fn firmware_boots_with_kea() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Kea,
        hand_off: &["bios,uefi", "--server", "10.77.0.1"],
        datapath: Datapath::Generic,
    };
    boots(&manner, &[BIOS, UEFI])
}

#[test]
fn firmware_boots_with_dnsmasq() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Dnsmasq,
        hand_off: &[],
        datapath: Datapath::Native,
    };
    boots(&manner, &[BIOS, UEFI])
}

#[test]
fn firmware_boots_by_af_xdp() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Dnsmasq,
        hand_off: &[],
        datapath: Datapath::AfXdp,
    };
    boots(&manner, &[BIOS, UEFI])
}

#[test]
fn firmware_boots_by_raw() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Isc,
        hand_off: &[],
        datapath: Datapath::Raw,
    };
    boots(&manner, &[BIOS, UEFI])
}

#[test]
fn firmware_of_two_nodes_boots_two_winpes_at_once() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Kea,
        hand_off: &[],
        datapath: Datapath::Native,
    };
    let other = Node {
        name: "other",
        address: Ipv4Addr::new(10, 77, 1, 3),
        winpe: "winboot/winpe-b/",
        ..BIOS
    };
    boots(&manner, &[BIOS, other])
}
