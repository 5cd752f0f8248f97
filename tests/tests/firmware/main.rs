//! Real firmware boots from a service node: SeaBIOS with iPXE, and OVMF with EDK2's PXE client, in
//! virtual machines. `proxydhcp winpe create` has made the WinPEs that they boot. ISC dhcpd, Kea or
//! dnsmasq gives them their addresses. Either it is configured by `proxydhcp dhcp-conf`, and a TFTP
//! server has the files; or it is an ordinary one, and proxydhcp makes offers and has the files. For the
//! latter, `cargo xtask test firmware` takes all combinations of DHCP server, its host and datapath, and
//! other runs take some, with each pair among them.
//!
//! These tests need root, the binary that `cargo xtask test` builds, and Debian packages, which
//! they install where they are missing: qemu-system-x86, ipxe-qemu, ovmf, isc-dhcp-server,
//! kea-dhcp4-server and dnsmasq-base, and those by which media are made and read. No service of theirs
//! is started. All else is in private networks, and ends with the tests.

use std::env;
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, Result};
use proxydhcp_lab::alone;
use proxydhcp_lab::dhcp_server::DhcpServer;
use proxydhcp_lab::site::Datapath;

use cluster::{DhcpHost, Manner, Way, boot};
use node::Node;
use qemu::Firmware;

mod cluster;
mod dhcp_server;
mod discovers;
mod handoff;
mod loader;
mod node;
mod qemu;
mod root;
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
        "{} machines have booted in {:.1?}: {manner:?}",
        nodes.len(),
        started.elapsed()
    );
    Ok(())
}

#[test]
fn firmware_boots_with_isc_dhcpd() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Isc,
        way: Way::HandOff(&["bios,uefi"]),
        datapath: Datapath::Native,
    };
    boots(&manner, &[BIOS, UEFI])
}

#[test]
fn firmware_boots_with_kea() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Kea,
        way: Way::HandOff(&["bios,uefi", "--server", "10.77.0.1"]),
        datapath: Datapath::Generic,
    };
    boots(&manner, &[BIOS, UEFI])
}

#[test]
fn firmware_boots_with_dnsmasq() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Dnsmasq,
        way: Way::HandOff(&[]),
        datapath: Datapath::Native,
    };
    boots(&manner, &[BIOS, UEFI])
}

#[test]
fn firmware_boots_by_af_xdp() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Dnsmasq,
        way: Way::HandOff(&[]),
        datapath: Datapath::AfXdp,
    };
    boots(&manner, &[BIOS, UEFI])
}

#[test]
fn firmware_boots_by_raw() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Isc,
        way: Way::HandOff(&[]),
        datapath: Datapath::Raw,
    };
    boots(&manner, &[BIOS, UEFI])
}

#[test]
fn firmware_of_two_nodes_boots_two_winpes_at_once() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Kea,
        way: Way::HandOff(&[]),
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

/// Boots by offers beside an ordinary DHCP server, on this host and on another. Offers are made in the
/// same way whatever answers on port 4011, so each datapath has its turn with one of the servers, unless all
/// combinations are asked for.
fn boots_by_offers(dhcp_server: DhcpServer) -> Result<()> {
    let takes_all = env::var_os("PROXYDHCP_COMBINATIONS").is_some_and(|which| which == "all");
    let others = DhcpServer::ALL.iter().take_while(|it| **it != dhcp_server);
    let first = 2 * others.count();
    for (number, host) in [DhcpHost::Same, DhcpHost::Other].into_iter().enumerate() {
        for (at, datapath) in Datapath::ALL.into_iter().enumerate() {
            if !takes_all && at != (first + number) % Datapath::ALL.len() {
                continue;
            }
            let manner = Manner {
                dhcp_server,
                way: Way::Offers(host),
                datapath,
            };
            boots(&manner, &[BIOS, UEFI]).with_context(|| format!("{manner:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn firmware_boots_by_offers_beside_isc_dhcpd() -> Result<()> {
    boots_by_offers(DhcpServer::Isc)
}

#[test]
fn firmware_boots_by_offers_beside_kea() -> Result<()> {
    boots_by_offers(DhcpServer::Kea)
}

#[test]
fn firmware_boots_by_offers_beside_dnsmasq() -> Result<()> {
    boots_by_offers(DhcpServer::Dnsmasq)
}

#[test]
fn firmware_boots_by_the_offers_of_two_that_agree() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Isc,
        way: Way::OffersOfTwo,
        datapath: Datapath::Generic,
    };
    boots(&manner, &[BIOS, UEFI])
}

/// Which of them a machine takes is a matter of time.
#[test]
fn firmware_takes_either_of_two_proxies_that_disagree() -> Result<()> {
    let manner = Manner {
        dhcp_server: DhcpServer::Isc,
        way: Way::OffersBesideAnother,
        datapath: Datapath::Generic,
    };
    boots(&manner, &[BIOS, UEFI])
}
