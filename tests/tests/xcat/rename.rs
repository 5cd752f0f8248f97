//! A node that gets another address: nodeset signals nothing, because its own file is the same.

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::config::hosts_text;
use proxydhcp_lab::site::{NODE_A, NODE_B};
use proxydhcp_lab::{Expected, RequestFrame, Tap, check_reply};

use crate::node::{Node, PATIENCE};

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
    let started = Instant::now();
    let reply = loop {
        match tap.ask(&request) {
            Ok(reply) => break reply,
            Err(error) => ensure!(started.elapsed() < PATIENCE, "{error:#}"),
        }
    };
    check_reply(&request.bytes(), &reply, &Expected::new(winpe, UEFI_X64))?;
    Ok(())
}

/// As makehosts does it, in place.
#[test]
fn it_gets_its_winpe_at_the_new_address_and_nobody_at_the_old_one() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/"), ("b", "winboot/b/")])?;
    node.start(&["-d"])?;
    let mut tap = node.lab.tap()?;
    boots(&mut tap, NODE_A, "winboot/a/")?;
    comes_to_boot(&mut tap, NEW, "")?;
    let hosts = [(NEW, "a.cluster a"), (NODE_B, "b")];
    fs::write(node.path("hosts"), hosts_text(hosts))?;
    let started = Instant::now();
    while boots(&mut tap, NEW, "winboot/a/").is_err() {
        // More often, and the rate limit would apply.
        boots(&mut tap, NODE_B, "winboot/b/")?;
        ensure!(started.elapsed() < PATIENCE, "it was not noticed");
        thread::sleep(Duration::from_millis(250));
    }
    println!("noticed after {:?}", started.elapsed());
    comes_to_boot(&mut tap, NODE_A, "")
}
