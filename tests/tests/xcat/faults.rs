//! The faults of xCAT's daemon, which this one in its place does not have. Each rule has tests of
//! its own on every datapath; these check that it is in force here, too.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_clients::{Client, Firmware, storm};
use proxydhcp_lab::architecture::{BIOS, UEFI_BC, UEFI_X64};
use proxydhcp_lab::config::{cfg_bytes, hosts_text};
use proxydhcp_lab::site::{NODE_A, NODE_B};
use proxydhcp_lab::{CLIENT_INTERFACE, Expected, RequestFrame, Tap, check_reply};

use crate::node::{Node, insist};

/// How long to wait for a reply that must not come; replies take microseconds.
const SILENCE: Duration = Duration::from_millis(150);

type Change = fn(&mut RequestFrame);

fn served(records: &[(&str, &str)]) -> Result<(Node, Tap)> {
    let node = Node::with(records)?;
    node.start(&["-d"])?;
    let tap = node.lab.tap()?;
    Ok((node, tap))
}

fn ask(tap: &mut Tap, request: &RequestFrame, winpe: &str, arch: u16) -> Result<()> {
    let reply = insist(tap, request).context(winpe.to_owned())?;
    check_reply(&request.bytes(), &reply, &Expected::new(winpe, arch))
}

/// It forked a program and asked the resolver for each request: 500 a second.
#[test]
fn a_thousand_nodes_that_ask_together_are_all_answered_at_once() -> Result<()> {
    let node = Node::new()?;
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(10, 77, 4 + high, low)
    };
    let names: Vec<(Ipv4Addr, String)> = (0..1000)
        .map(|number| (address(number), format!("n{number}")))
        .collect();
    std::fs::write(node.path("hosts"), hosts_text(names.iter().cloned()))?;
    let records = names.iter().map(|(_, name)| (name, "winboot/a/"));
    std::fs::write(node.config(), cfg_bytes(records)?)?;
    node.start(&["-d"])?;
    let clients: Vec<Client> = names
        .iter()
        .map(|(address, _)| Client::new(Firmware::Uefi, *address, "winboot/a/"))
        .collect();
    let report = storm(&node.lab.client, CLIENT_INTERFACE, &clients, &mut |_| {
        ControlFlow::Continue(())
    })?;
    let faults: Vec<&str> = report.faults().collect();
    ensure!(report.is_flawless(), "{faults:?}");
    Ok(())
}

/// It sent architecture 9 to the BIOS loader, dropped Windows' second stage as too short, and gave
/// routed clients nothing.
#[test]
fn every_client_of_the_site_is_served() -> Result<()> {
    let (_node, mut tap) = served(&[("a", "winboot/a/")])?;
    ask(
        &mut tap,
        &RequestFrame::edk2(NODE_A, UEFI_BC),
        "winboot/a/",
        9,
    )?;
    let short = RequestFrame::wdsmgfw(NODE_A, UEFI_X64);
    assert_eq!(short.bootp().len(), 306);
    ask(&mut tap, &short, "winboot/a/", 7)?;
    let routed = RequestFrame {
        source_mac: [0x02, 0, 0, 0, 0xff, 0xfe],
        ttl: 61,
        ..RequestFrame::edk2([172, 16, 5, 5].into(), UEFI_X64)
    };
    ask(&mut tap, &routed, "", 7)?;
    // It lost its way in an option walk that begins with pads.
    let mut padded = RequestFrame::ipxe(NODE_A, BIOS);
    for _ in 0..3 {
        padded.options.insert(0, (0, Vec::new()));
    }
    ask(&mut tap, &padded, "winboot/a/", 0)
}

/// It looked at neither the cookie nor the operation, message type and vendor class.
#[test]
fn what_is_no_request_is_not_answered() -> Result<()> {
    let (node, mut tap) = served(&[("a", "winboot/a/")])?;
    let changes: [(&str, Change); 4] = [
        ("cookie", |request| request.cookie = [0; 4]),
        ("op", |request| request.op = 2),
        ("message-type", |request| request.set_option(53, [5])),
        ("vendor-class", |request| {
            request.set_option(60, *b"MSFT 5.0");
        }),
    ];
    for (reason, change) in changes {
        let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
        change(&mut request);
        tap.send(&request.bytes())?;
        ensure!(tap.reply(SILENCE)?.is_none(), "{reason}: answered");
        let status = node.status()?;
        let counted = status.pointer(&format!("/interfaces/0/counters/refused/{reason}"));
        ensure!(counted == Some(&1.into()), "{reason}: {status}");
    }
    ask(
        &mut tap,
        &RequestFrame::edk2(NODE_A, UEFI_X64),
        "winboot/a/",
        7,
    )
}

/// It kept nodes that were removed, took an empty name for the file's end, and sent out a path of
/// more than 111 characters over the fields behind it.
#[test]
fn the_records_are_those_of_the_file() -> Result<()> {
    let (node, mut tap) = served(&[("a", "winboot/a/"), ("b", "winboot/b/")])?;
    ask(
        &mut tap,
        &RequestFrame::edk2(NODE_B, UEFI_X64),
        "winboot/b/",
        7,
    )?;
    let long = "x".repeat(149);
    node.nodeset(&[("", "winboot/x/"), ("b", &long), ("a", "winboot/c/")])?;
    node.await_generation(2)?;
    // The remedy is in xCAT's words.
    let refused = node.status()?["refused"][0]["reason"].to_string();
    assert!(
        refused.contains("or run nodeset for the node again"),
        "{refused}"
    );
    ask(
        &mut tap,
        &RequestFrame::edk2(NODE_A, UEFI_X64),
        "winboot/c/",
        7,
    )?;
    // Its record says something else than the default, which would boot the wrong WinPE.
    assert!(tap.ask(&RequestFrame::edk2(NODE_B, UEFI_X64)).is_err());
    node.nodeset(&[("b", "winboot/b/")])?;
    node.await_generation(3)?;
    ask(&mut tap, &RequestFrame::edk2(NODE_A, UEFI_X64), "", 7)?;
    ask(
        &mut tap,
        &RequestFrame::edk2(NODE_B, UEFI_X64),
        "winboot/b/",
        7,
    )
}

/// `nodeset` truncates the file and then writes it: a reader may see any part of it.
#[test]
fn half_a_file_changes_nothing() -> Result<()> {
    let (node, mut tap) = served(&[("a", "winboot/a/"), ("b", "winboot/b/")])?;
    let next = cfg_bytes([("a", "winboot/c/"), ("b", "winboot/d/")])?;
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(node.config())?;
    let mut written = 0;
    for end in [0, 1, 199, 201, 399] {
        file.write_all(&next[written..end])?;
        written = end;
        node.kill(10)?;
        crate::node::wait_until("the rejection", || {
            let status = node.status()?;
            let reason = status["rejected"].as_str().unwrap_or_default();
            Ok(match end {
                0 => reason.contains("has no records"),
                _ => reason.contains(&format!("{end} bytes is not a multiple")),
            })
        })?;
        for (client, winpe) in [(NODE_A, "winboot/a/"), (NODE_B, "winboot/b/")] {
            ask(&mut tap, &RequestFrame::edk2(client, UEFI_X64), winpe, 7)?;
        }
    }
    file.write_all(&next[written..])?;
    node.kill(10)?;
    node.await_generation(2)?;
    for (client, winpe) in [(NODE_A, "winboot/c/"), (NODE_B, "winboot/d/")] {
        ask(&mut tap, &RequestFrame::edk2(client, UEFI_X64), winpe, 7)?;
    }
    Ok(())
}
