//! The resolver's answers outlive the daemon, and no node is lost to a DNS that is down, or that
//! has lost all names.

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::link::add_address;
use proxydhcp_lab::resolver::{DeadNameServer, NameServer, Resolver};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, STRANGER, Site};
use proxydhcp_lab::{Expected, Lab, RequestFrame, SERVER_INTERFACE, check_reply};
use serde_json::json;

use crate::resolved::{PATIENCE, count, restart, start, wait_for, wait_until};

const D: Ipv4Addr = Ipv4Addr::new(10, 77, 4, 1);
const E: Ipv4Addr = Ipv4Addr::new(10, 77, 4, 2);
const F: Ipv4Addr = Ipv4Addr::new(10, 77, 4, 3);
const KNOWN: [(Ipv4Addr, &str); 2] = [(D, "d"), (E, "e")];

const DEFAULT: [&str; 2] = ["--unknown", "default"];

/// Nodes whose names only the DNS knows.
fn files() -> Result<Files> {
    let files = Files::new()?;
    files.write_config(&[("d", "winboot/d"), ("e", "winboot/e")])?;
    files.write_hosts(&[])?;
    Ok(files)
}

/// Waits until the file of the resolver's answers ends so.
fn await_kept(site: &Site, end: &str) -> Result<()> {
    let path = site.files.path("resolved.hosts");
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(&path).unwrap_or_default();
        if text.starts_with("# The system resolver's last answers") && text.ends_with(end) {
            return Ok(());
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "{text:?}: {}",
            site.describe()
        );
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_restart_while_the_dns_is_down_takes_no_node_out_of_service() -> Result<()> {
    for datapath in [Datapath::Native, Datapath::Raw] {
        let lab = Lab::new()?;
        let server = NameServer::start(&lab.server, &KNOWN)?;
        let resolver = Resolver::new("")?;
        let mut site = start(lab, &resolver, datapath, files()?, &DEFAULT)?;
        await_kept(&site, ".\n10.77.4.1 d\n10.77.4.2 e\n")?;

        drop(server);
        let dead = DeadNameServer::start(&site.lab.server)?;
        for crash in [true, false] {
            if crash {
                site.daemon.crash()?;
            } else {
                site.daemon.stop()?;
            }
            restart(&mut site, &resolver, datapath, &DEFAULT)?;
            let ready = site.daemon.ready_line();
            assert!(ready.ends_with("; 2 nodes"), "{ready}");
            site.ask_uefi(D, "winboot/d/")?;
            site.ask_uefi(E, "winboot/e/")?;
            assert_eq!(site.status()?["looking_up"], json!(["d", "e"]));
            // Other clients are not among them.
            site.ask_uefi(STRANGER, "")?;
        }

        // A reload keeps them, as it keeps the answers that this daemon got itself.
        assert_eq!(site.command(&["reload"])?.code, Some(0));
        site.ask_uefi(D, "winboot/d/")?;
        drop(dead);
        let _server = NameServer::start(&site.lab.server, &[(F, "d")])?;
        assert_eq!(site.command(&["reload"])?.code, Some(0));
        await_kept(&site, ".\n10.77.4.3 d\n")?;
        // The answers are kept before the tables that have them are in service.
        let started = Instant::now();
        while let Err(error) = site.ask_uefi(F, "winboot/d/") {
            ensure!(started.elapsed() < PATIENCE, "{error:?}");
            thread::sleep(Duration::from_millis(200));
        }
        site.ask_uefi(D, "")?;
    }
    Ok(())
}

#[test]
fn a_file_that_is_rejected_at_the_start_costs_no_answers() -> Result<()> {
    let lab = Lab::new()?;
    let server = NameServer::start(&lab.server, &KNOWN)?;
    let resolver = Resolver::new("")?;
    let mut site = start(lab, &resolver, Datapath::Native, files()?, &[])?;
    let all = ".\n10.77.4.1 d\n10.77.4.2 e\n";
    await_kept(&site, all)?;
    let good = fs::read(site.files.path("proxydhcp.cfg"))?;
    site.daemon.crash()?;
    drop(server);
    site.files.write_raw_config(&good[..good.len() - 1])?;
    restart(&mut site, &resolver, Datapath::Native, &[])?;
    assert_eq!(site.command(&["reload"])?.code, Some(1));
    add_address(&site.lab.server, SERVER_INTERFACE, (F, 16))?;
    site.daemon
        .wait_for("this host's addresses are now", PATIENCE)?;
    await_kept(&site, all)?;
    site.files.write_raw_config(&good)?;
    assert_eq!(site.command(&["reload"])?.code, Some(0));
    assert_eq!(site.status()?["nodes"], 2);
    site.ask_uefi(D, "winboot/d/")?;
    Ok(())
}

#[test]
fn a_file_that_cannot_be_kept_keeps_nobody_from_being_served() -> Result<()> {
    let lab = Lab::new()?;
    let _server = NameServer::start(&lab.server, &KNOWN)?;
    let files = files()?;
    fs::create_dir(files.path("resolved.hosts"))?;
    let mut site = start(lab, &Resolver::new("")?, Datapath::Raw, files, &[])?;
    site.daemon
        .wait_for("resolved.hosts: not a regular file", PATIENCE)?;
    let warning = "a restart while the resolver is down will lose its answers";
    site.daemon.wait_for(warning, PATIENCE)?;
    site.ask_uefi(D, "winboot/d/")?;
    for _ in 0..3 {
        assert_eq!(site.command(&["reload"])?.code, Some(0));
        wait_until(&site, |status| count(status, "looking_up") == 0)?;
        // Longer than the file takes to be written.
        thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(site.daemon.log().matches(warning).count(), 1);
    Ok(())
}

#[test]
fn nobody_gets_the_default_while_he_may_be_a_node() -> Result<()> {
    const WAITS: &str = "clients without a record wait until the resolver has answered";
    for datapath in [Datapath::Native, Datapath::Raw] {
        let lab = Lab::new()?;
        let dead = DeadNameServer::start(&lab.server)?;
        let files = files()?;
        files.write_hosts(&[("10.77.1.1", "a")])?;
        files.write_config(&[("a", "winboot/a"), ("d", "winboot/d")])?;
        // Long enough to look at it, before the name has failed.
        let resolver = Resolver::new("timeout:3 attempts:1")?;
        let mut site = start(lab, &resolver, datapath, files, &DEFAULT)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.stays_silent_to(D)?;
        assert_eq!(site.status()?["waited_for"], 1);
        let text = site.command(&["status"])?.stdout;
        ensure!(
            text.contains(&format!("{WAITS}; names to go: 1\n")),
            "{text}"
        );
        let looked = site.command(&["lookup", "10.77.4.1"])?;
        assert_eq!(looked.code, Some(1), "{looked:?}");
        ensure!(looked.stdout.contains(WAITS), "{looked:?}");

        // The name has failed: from now on, unknown clients are taken for strangers.
        wait_until(&site, |status| count(status, "failed") == 1)?;
        let stranger = RequestFrame::edk2(STRANGER, UEFI_X64);
        let started = Instant::now();
        while site.ask(&stranger, "", UEFI_X64).is_err() {
            ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
        }
        let text = site.command(&["status"])?.stdout;
        ensure!(!text.contains(WAITS), "{text}");
        // A reload asks again, and only nodes whose name is new wait for the answer.
        assert_eq!(site.command(&["reload"])?.code, Some(0));
        site.ask(&stranger, "", UEFI_X64)?;

        // With a DNS that answers, it gets its own from the first reply on.
        drop(dead);
        let _server = NameServer::start(&site.lab.server, &KNOWN)?;
        site.daemon.stop()?;
        restart(&mut site, &resolver, datapath, &DEFAULT)?;
        let request = RequestFrame::edk2(D, UEFI_X64);
        let started = Instant::now();
        let reply = loop {
            site.tap.send(&request.bytes())?;
            if let Some(reply) = site.tap.reply(Duration::from_millis(1))? {
                break reply;
            }
            ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
        };
        check_reply(
            &request.bytes(),
            &reply,
            &Expected::new("winboot/d/", UEFI_X64),
        )?;
        println!(
            "{datapath:?}: answered {:?} after it was ready",
            started.elapsed()
        );
    }
    Ok(())
}

#[test]
fn a_dns_that_denies_every_name_is_not_believed_and_asked_again() -> Result<()> {
    const NEW: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
    let lab = Lab::new()?;
    let server = NameServer::start(&lab.server, &KNOWN)?;
    let mut site = start(
        lab,
        &Resolver::new("")?,
        Datapath::Native,
        files()?,
        &DEFAULT,
    )?;
    wait_until(&site, |status| status["nodes"] == 2)?;
    server.tell(&[])?;
    // The new names take a moment to arrive.
    let started = Instant::now();
    while count(&site.status()?, "failed") != 2 {
        ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
        assert_eq!(site.command(&["reload"])?.code, Some(0));
        wait_until(&site, |status| count(status, "looking_up") == 0)?;
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(site.status()?["nodes"], 2);
    let text = site.command(&["status"])?.stdout;
    for told in [
        "the resolver denies every name",
        "check the DNS",
        "the last known addresses stay for d, e\n",
    ] {
        ensure!(text.contains(told), "{told}: {text}");
    }
    ensure!(!text.contains("NOT in service"), "{text}");
    site.daemon
        .wait_for("the resolver denies every name", PATIENCE)?;

    // This host's own addresses are another matter.
    add_address(&site.lab.server, SERVER_INTERFACE, (NEW, 16))?;
    site.daemon
        .wait_for("this host's addresses are now", PATIENCE)?;
    let request = RequestFrame {
        destination: NEW,
        ..RequestFrame::edk2(D, UEFI_X64)
    };
    let reply = site.tap.ask(&request)?;
    let expected = Expected {
        siaddr: NEW,
        ..Expected::new("winboot/d/", UEFI_X64)
    };
    check_reply(&request.bytes(), &reply, &expected)?;

    // The DNS has its names back, and nobody reloads.
    server.tell(&[(F, "d"), (E, "e")])?;
    let patience = Duration::from_mins(1);
    wait_for(&site, patience, |status| count(status, "failed") == 0)?;
    let started = Instant::now();
    let request = RequestFrame::edk2(F, UEFI_X64);
    while site.ask(&request, "winboot/d/", UEFI_X64).is_err() {
        ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
    }

    // With --allow-empty, the DNS is believed.
    server.tell(&[])?;
    let started = Instant::now();
    while site.status()?["nodes"] != 0 {
        ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
        site.command(&["reload", "--allow-empty"])?;
        wait_until(&site, |status| count(status, "looking_up") == 0)?;
    }
    Ok(())
}
