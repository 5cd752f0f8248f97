//! A node that gets another address: nodeset signals nothing, because its own file is the same.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::config::{cfg_bytes, hosts_text};
use proxydhcp_lab::site::{NODE_A, NODE_B};
use proxydhcp_lab::{Expected, RequestFrame, Tap, check_reply};

use crate::node::{PATIENCE, insist};
use crate::service::{Host, SINCE_2_18};

const NEW: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 8);

/// Whether the client is sent to this WinPE.
fn boots(tap: &mut Tap, client: Ipv4Addr, winpe: &str) -> Result<()> {
    let request = RequestFrame::edk2(client, UEFI_X64);
    let reply = tap.ask(&request)?;
    check_reply(&request.bytes(), &reply, &Expected::new(winpe, UEFI_X64))?;
    Ok(())
}

/// Asks until there is an answer, which must be this one: the name of an unknown client's address is
/// looked up first.
fn comes_to_boot(tap: &mut Tap, client: Ipv4Addr, winpe: &str) -> Result<()> {
    let request = RequestFrame::edk2(client, UEFI_X64);
    let reply = insist(tap, &request)?;
    check_reply(&request.bytes(), &reply, &Expected::new(winpe, UEFI_X64))?;
    Ok(())
}

/// As makehosts does it, in place.
#[test]
fn it_gets_its_winpe_at_the_new_address_and_nobody_at_the_old_one() -> Result<()> {
    let mut host = Host::new(SINCE_2_18)?;
    let records = [("a", "winboot/a/"), ("b", "winboot/b/")];
    fs::write(host.path("var-lib/xcat/proxydhcp.cfg"), cfg_bytes(records)?)?;
    let hosts = [(NODE_A, "a"), (NODE_B, "b")];
    fs::write(host.path("etc/hosts"), hosts_text(hosts))?;
    host.systemctl(&["start", "xcatd"])?;
    comes_to_boot(&mut host.tap, NODE_A, "winboot/a/")?;
    comes_to_boot(&mut host.tap, NEW, "")?;
    let hosts = [(NEW, "a.cluster a"), (NODE_B, "b")];
    fs::write(host.path("etc/hosts"), hosts_text(hosts))?;
    let started = Instant::now();
    while boots(&mut host.tap, NEW, "winboot/a/").is_err() {
        // Meanwhile, nobody else gets another's.
        boots(&mut host.tap, NODE_B, "winboot/b/")?;
        ensure!(started.elapsed() < PATIENCE, "it was not noticed");
    }
    println!("noticed after {:?}", started.elapsed());
    // What was on its way when the tables were replaced may yet be answered by the old ones.
    let started = Instant::now();
    while comes_to_boot(&mut host.tap, NODE_A, "").is_err() {
        comes_to_boot(&mut host.tap, NEW, "winboot/a/")?;
        ensure!(started.elapsed() < PATIENCE, "it keeps the node's WinPE");
    }
    Ok(())
}
