//! Offers beside DHCP servers and other proxies on the same network.
#![allow(clippy::indexing_slicing, reason = "a test fails by what it says")]

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::dhcp_server::{DhcpServer, ToPxe};
use proxydhcp_lab::site::{Datapath, Site};
use proxydhcp_lab::{Daemon, Lab, Namespace, bridge};
use serde_json::json;

use crate::discover::{ALL, PATIENCE, discover, files, offers};

/// Where a DHCP server is that is not on this host.
const DHCP_HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 30, 1);

/// How many clients ask while a DHCP server counts.
const DISCOVERS: u8 = 100;

/// Sends the DISCOVERs of as many clients, all of which get an offer, and holds the DHCP server to have
/// received every one, and no more.
fn both_receive_every_discover(site: &Site, server: DhcpServer, running: &Daemon) -> Result<()> {
    for number in 0..DISCOVERS {
        let discover = discover([0x52, 0x54, 2, 0, 0, number], UEFI_X64);
        site.tap.send(&discover.bytes())?;
        thread::sleep(Duration::from_millis(2));
    }
    let started = Instant::now();
    while server.discovers(running) < DISCOVERS.into() {
        ensure!(
            started.elapsed() < PATIENCE,
            "{server:?}: {} of {DISCOVERS}",
            server.discovers(running)
        );
        thread::sleep(Duration::from_millis(20));
    }
    ensure!(server.discovers(running) == usize::from(DISCOVERS));
    let offers = offers(site)?;
    ensure!(offers["answered"] == json!(DISCOVERS), "{offers}");
    Ok(())
}

#[test]
fn a_dhcp_server_on_this_host_receives_every_discover() -> Result<()> {
    for datapath in Datapath::ALL {
        for server in DhcpServer::ALL {
            let folder = tempfile::tempdir()?;
            let site = Site::start(datapath, files()?, &ALL)?;
            let running =
                server.start_ordinary(&site.lab.server, "px0", folder.path(), ToPxe::Nothing)?;
            both_receive_every_discover(&site, server, &running)
                .with_context(|| format!("{datapath:?}, {server:?}"))?;
            // Nobody holds port 67 but the DHCP server.
            drop(running);
            site.lab
                .server
                .run(|| Ok(UdpSocket::bind(("0.0.0.0", 67))?))
                .context("port 67 is held")?;
        }
    }
    Ok(())
}

#[test]
fn a_dhcp_server_behind_a_port_of_this_hosts_bridge_receives_every_discover() -> Result<()> {
    for datapath in [Datapath::Generic, Datapath::AfXdp, Datapath::Raw] {
        for server in DhcpServer::ALL {
            let folder = tempfile::tempdir()?;
            let (lab, behind) = (Lab::new()?, Namespace::new()?);
            // The server's interface is a port of a bridge, and the DHCP server is behind another port.
            bridge::make(&lab.server, "br0")?;
            bridge::add_port(&lab.server, "br0", "px0")?;
            bridge::add_host(&lab.server, "br0", &behind, DHCP_HOST)?;
            let site = Site::start_in(lab, datapath, files()?, &ALL)?;
            let running = server.start_ordinary(&behind, "eth0", folder.path(), ToPxe::Nothing)?;
            both_receive_every_discover(&site, server, &running)
                .with_context(|| format!("{datapath:?}, {server:?}"))?;
        }
    }
    Ok(())
}
