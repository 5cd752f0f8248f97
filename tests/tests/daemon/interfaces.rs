//! Which interfaces are served, and that each is on its own.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, STRANGER, Site};
use proxydhcp_lab::{Daemon, Expected, Lab, RequestFrame, Tap, binary, check_reply, link};
use serde_json::{Value, json};

const SECOND_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 0x01];
const SECOND_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
/// A node on the second wire.
const NODE_C: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 1);

#[test]
fn by_default_all_but_the_loopback_are_served() -> Result<()> {
    let lab = Lab::new()?;
    let _second = lab.one_more_wire(1)?;
    let mut site = site(lab, &["--path", "raw"])?;
    assert_eq!(
        site.daemon.ready_line(),
        "ready: px0 (raw), px1 (raw); 2 nodes"
    );
    site.ask_uefi(NODE_A, "winboot/a/")?;
    Ok(())
}

#[test]
fn each_interface_answers_on_its_own_wire() -> Result<()> {
    for path in [
        &["--path", "kernel", "--xdp-mode", "native"][..],
        &["--path", "kernel", "--xdp-mode", "generic"],
        &["--path", "af-xdp"],
        &["--path", "raw"],
    ] {
        let lab = Lab::new()?;
        let _second = lab.one_more_wire(1)?;
        let mut second_tap = Tap::open(&lab.client, "pc1")?;
        let mut site = site(lab, &[&["-i", "px1", "-i", "px0"], path].concat())?;

        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        assert!(second_tap.reply(Duration::ZERO)?.is_none());

        let request = RequestFrame {
            destination_mac: SECOND_MAC,
            destination: SECOND_ADDRESS,
            ..RequestFrame::edk2(NODE_C, UEFI_X64)
        };
        let reply = second_tap.ask(&request)?;
        let expected = Expected {
            siaddr: SECOND_ADDRESS,
            ..Expected::new("winboot/c/", UEFI_X64)
        };
        check_reply(&request.bytes(), &reply, &expected)?;
        site.stays_silent_to(NODE_B)?;

        let status = site.status()?;
        let told = |interface: &Value| {
            let counters = &interface["counters"];
            json!([interface["name"], counters["answered"], counters["refused"]])
        };
        let interfaces: Vec<Value> = status["interfaces"]
            .as_array()
            .map(|interfaces| interfaces.iter().map(told).collect())
            .unwrap_or_default();
        assert_eq!(
            interfaces,
            [
                json!(["px1", 1, {}]),
                json!(["px0", 2, {"unknown-client": 1}])
            ]
        );
    }
    Ok(())
}

#[test]
fn a_request_that_comes_by_two_interfaces_has_one_reply() -> Result<()> {
    const UPPER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
    for path in ["kernel", "af-xdp", "raw"] {
        for named in [&[][..], &["-i", "mv0", "-i", "px0"]] {
            let lab = Lab::new()?;
            link::make_macvlan(&lab.server, "px0", "mv0", SECOND_MAC)?;
            link::add_address(&lab.server, "mv0", (UPPER, 16))?;
            let mut site = site(lab, &[&["--path", path], named].concat())?;
            let request = RequestFrame {
                destination_mac: SECOND_MAC,
                destination: UPPER,
                // The XDP program leaves it to the daemon.
                ip_options: vec![0x94, 4, 0, 0],
                ..RequestFrame::edk2(NODE_A, UEFI_X64)
            };
            let reply = site.tap.ask(&request)?;
            let expected = Expected {
                siaddr: UPPER,
                ..Expected::new("winboot/a/", UEFI_X64)
            };
            check_reply(&request.bytes(), &reply, &expected)?;
            // The other reply would be on its way before this one.
            site.ask_uefi(NODE_A, "winboot/a/")?;
            assert_eq!(site.counters()?["answered"], 2, "{path}");
            assert_eq!(site.status()?["interfaces"][0]["name"], "px0");
            assert_eq!(site.status()?["interfaces"][1], Value::Null);
        }
    }
    Ok(())
}

#[test]
fn unknown_clients_get_the_default_winpe_on_request() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::with(datapath, &["--unknown", "default"])?;
        site.ask_uefi(STRANGER, "")?;
        site.ask_bios(STRANGER, "")?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        assert_eq!(site.counters()?["refused"], json!({}));
        // Also when it was a node before.
        site.files.write_config(&[("b", "winboot/b")])?;
        site.command(&["reload"])?;
        site.ask_uefi(NODE_A, "")?;
    }
    Ok(())
}

/// A daemon with these arguments that knows a node on each wire.
fn site(lab: Lab, args: &[&str]) -> Result<Site> {
    let files = Files::new()?;
    files.write_config(&[("a", "winboot/a"), ("c", "winboot/c")])?;
    files.write_hosts(&[("10.77.1.1", "a"), ("10.78.1.1", "c")])?;
    let mut all = vec!["serve".to_owned()];
    all.extend(args.iter().map(|&arg| arg.to_owned()));
    all.extend(files.args());
    let daemon = Daemon::start(&lab.server, &binary()?, &all)?;
    Site::of(lab, daemon, files)
}
