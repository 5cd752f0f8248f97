//! Clients whose address no record leads to: `--unknown lookup`, and rules of all policies.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::resolver::{DeadNameServer, NameServer, Resolver};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, STRANGER, Site};
use proxydhcp_lab::{Lab, RequestFrame};
use serde_json::json;

use crate::resolved::{PATIENCE, start, wait_until};

/// Clients that only the name server knows, by the name of their address.
const SHORT: Ipv4Addr = Ipv4Addr::new(10, 77, 5, 1);
const IB0: Ipv4Addr = Ipv4Addr::new(10, 77, 5, 2);
const NO_RECORD: Ipv4Addr = Ipv4Addr::new(10, 77, 5, 3);
const REFUSED: Ipv4Addr = Ipv4Addr::new(10, 77, 5, 4);

const LOOKUP: [&str; 3] = ["--unknown", "lookup", "--suffix=-ib0"];

fn files() -> Result<Files> {
    let files = Files::usual()?;
    files.write_config(&[("a", "winboot/a"), ("b", "winboot/b"), ("bad", "..")])?;
    Ok(files)
}

/// Sends a request until it is answered, as firmware does.
fn insist(site: &mut Site, client: Ipv4Addr, winpe: &str) -> Result<()> {
    let request = RequestFrame::edk2(client, UEFI_X64);
    // The first request is not answered: the client's name is not known yet.
    site.stays_silent(&request.bytes())?;
    let started = Instant::now();
    while site.ask(&request, winpe, UEFI_X64).is_err() {
        ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
    }
    Ok(())
}

#[test]
fn a_client_is_served_by_the_name_of_its_address() -> Result<()> {
    for datapath in Datapath::ALL {
        let lab = Lab::new()?;
        let known = [
            (SHORT, "a"),
            (IB0, "b-ib0"),
            (NO_RECORD, "visitor"),
            (REFUSED, "bad"),
        ];
        let _server = NameServer::start(&lab.server, &known)?;
        let mut site = start(lab, &Resolver::new("")?, datapath, files()?, &LOOKUP)?;
        // A node that is known needs no look-up.
        site.ask_uefi(NODE_A, "winboot/a/")?;
        insist(&mut site, SHORT, "winboot/a/")?;
        insist(&mut site, IB0, "winboot/b/")?;
        // The bad record's address is known from its name, and need not be looked up.
        let strangers = [NO_RECORD, REFUSED, STRANGER];
        for _ in 0..2 {
            for client in strangers {
                site.stays_silent_to(client)?;
            }
        }
        let lookups = site.status()?["lookups"].clone();
        let expected = json!({
            "asked": 4, "found": 3, "unknown": 1, "failed": 0, "dropped": 0, "remembered": 4
        });
        assert_eq!(lookups, expected, "{}", site.describe());
        // One table for the bad record's address, and one for each client that is served; none for
        // one whose name leads nowhere.
        assert_eq!(site.status()?["generation"], 4, "{}", site.describe());
        let text = site.command(&["status"])?.stdout;
        assert!(
            text.contains("4 looked up, 3 with a name, 1 without"),
            "{text}"
        );

        // The names that were found outlast a reload, and a new record serves the client of its
        // name.
        site.files
            .write_config(&[("a", "winboot/new"), ("visitor", "winboot/v")])?;
        assert_eq!(site.command(&["reload"])?.code, Some(0));
        site.ask_uefi(SHORT, "winboot/new/")?;
        site.ask_uefi(NO_RECORD, "winboot/v/")?;
        site.stays_silent_to(IB0)?;
    }
    Ok(())
}

/// As in xCAT's place: nobody gets another node's WinPE or the default one while it is asked whose
/// address it is.
#[test]
fn who_turns_out_to_have_no_record_gets_the_default() -> Result<()> {
    for datapath in Datapath::ALL {
        let lab = Lab::new()?;
        let known = [(SHORT, "a"), (NO_RECORD, "visitor"), (REFUSED, "bad")];
        let _server = NameServer::start(&lab.server, &known)?;
        let more = ["--unknown", "lookup-default"];
        let mut site = start(lab, &Resolver::new("")?, datapath, files()?, &more)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        insist(&mut site, SHORT, "winboot/a/")?;
        insist(&mut site, NO_RECORD, "")?;
        insist(&mut site, STRANGER, "")?;
        // Its record asks for something else than the default.
        site.stays_silent_to(REFUSED)?;
        let looked = site.command(&["lookup", &STRANGER.to_string()])?;
        ensure!(looked.code == Some(0), "{looked:?}");
        ensure!(
            looked.stdout.contains("has no name for its address"),
            "{looked:?}"
        );

        // A new record counts from the reload on.
        site.files
            .write_config(&[("a", "winboot/new"), ("visitor", "winboot/v")])?;
        assert_eq!(site.command(&["reload"])?.code, Some(0));
        site.ask_uefi(SHORT, "winboot/new/")?;
        site.ask_uefi(NO_RECORD, "winboot/v/")?;
    }
    Ok(())
}

/// The resolver cannot be asked, which xCAT's daemon takes for a no.
#[test]
fn where_no_name_can_be_had_the_default_is_served() -> Result<()> {
    let lab = Lab::new()?;
    let _server = DeadNameServer::start(&lab.server)?;
    let resolver = Resolver::new("timeout:1 attempts:1")?;
    let files = Files::usual()?;
    let more = ["--unknown", "lookup-default"];
    let mut site = start(lab, &resolver, Datapath::Generic, files, &more)?;
    insist(&mut site, STRANGER, "")
}

#[test]
fn a_storm_of_strangers_is_bounded_and_holds_up_nobody() -> Result<()> {
    const STORM: u16 = 5000;
    for datapath in [Datapath::Native, Datapath::Raw] {
        let lab = Lab::new()?;
        let server = DeadNameServer::start(&lab.server)?;
        let resolver = Resolver::new("timeout:1 attempts:1")?;
        let mut site = start(lab, &resolver, datapath, files()?, &LOOKUP)?;
        let _ = server.questions();
        let first = u32::from(Ipv4Addr::new(10, 77, 128, 0));
        let started = Instant::now();
        for n in 0..STORM {
            let request = RequestFrame::edk2((first + u32::from(n)).into(), UEFI_X64);
            site.tap.send(&request.bytes())?;
        }
        println!("{STORM} strangers in {:?}", started.elapsed());
        wait_until(&site, |status| {
            let refused = status.pointer("/interfaces/0/counters/refused/unknown-client");
            refused.and_then(serde_json::Value::as_u64) == Some(STORM.into())
        })?;
        let questions = server.questions();
        let status = site.status()?;
        let number = |field: &str| status["lookups"][field].as_u64().unwrap_or(u64::MAX);
        println!(
            "{datapath:?}: {} and {questions} questions",
            status["lookups"]
        );
        // At most so many are under way or wait; each costs its thread a second.
        let under_way = number("asked") - number("failed");
        assert!(under_way <= 128, "{status}");
        assert!(number("dropped") > u64::from(STORM) / 2, "{status}");

        site.ask_uefi(NODE_A, "winboot/a/")?;
        assert_eq!(site.command(&["reload"])?.code, Some(2));
        let (status, took) = site.daemon.stop()?;
        println!("stopped in {took:?}");
        assert!(
            status.success() && took < Duration::from_secs(2),
            "{took:?}"
        );
    }
    Ok(())
}

#[test]
fn the_dns_may_come_back() -> Result<()> {
    let lab = Lab::new()?;
    // Nobody listens there.
    let mut site = start(
        lab,
        &Resolver::new("")?,
        Datapath::Native,
        files()?,
        &LOOKUP,
    )?;
    site.stays_silent_to(SHORT)?;
    wait_until(&site, |status| status["lookups"]["failed"] == 1)?;
    let _server = NameServer::start(&site.lab.server, &[(SHORT, "a")])?;
    let request = RequestFrame::edk2(SHORT, UEFI_X64);
    let started = Instant::now();
    while site.ask(&request, "winboot/a/", UEFI_X64).is_err() {
        ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
    }
    Ok(())
}

#[test]
fn the_default_is_not_for_a_node_whose_record_is_refused() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::start(datapath, files()?, &["--unknown", "default"])?;
        site.files
            .write_config(&[("a", "winboot/a"), ("b", "winboot/../b")])?;
        let reload = site.command(&["reload"])?;
        assert_eq!(reload.code, Some(2), "{reload:?}");
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.ask_uefi(STRANGER, "")?;
        site.stays_silent_to(NODE_B)?;
        assert_eq!(site.counters()?["refused"], json!({"unknown-client": 1}));
        site.files.write_config(&[("a", "winboot/a")])?;
        assert_eq!(site.command(&["reload"])?.code, Some(0));
        site.ask_uefi(NODE_B, "")?;
    }
    Ok(())
}
