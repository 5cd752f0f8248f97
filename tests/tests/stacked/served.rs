//! Each of them answers, by each path, and the status says how and why so.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Files, NODE_A, NODE_B, Site};
use proxydhcp_lab::stack::{Upper, VLAN};
use proxydhcp_lab::{
    Daemon, Expected, Lab, LinkOptions, RequestFrame, SERVER_INTERFACE, SERVER_MAC, VlanTag,
    binary, check_reply, link,
};
use serde_json::Value;

/// The interface that stands on the lab's.
const UPPER: &str = "up0";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

/// A daemon that serves an interface of this kind on top of the lab's.
fn site(upper: Upper, takes_xdp: bool, args: &[&str]) -> Result<Site> {
    let lab = Lab::with(&LinkOptions {
        takes_xdp,
        ..LinkOptions::default()
    })?;
    upper.make(&lab.server, SERVER_INTERFACE, UPPER)?;
    link::add_address(&lab.server, UPPER, (ADDRESS, 16))?;
    let files = Files::usual()?;
    let args = [&["serve", "-i", UPPER], args].concat();
    let mut all: Vec<_> = args.into_iter().map(str::to_owned).collect();
    all.extend(files.args());
    let daemon = Daemon::start(&lab.server, &binary()?, &all)?;
    Site::of(lab, daemon, files)
}

fn request(upper: Upper, client: Ipv4Addr) -> RequestFrame {
    let tag = VlanTag {
        protocol: 0x8100,
        control: VLAN,
    };
    RequestFrame {
        destination_mac: upper.mac(SERVER_MAC),
        destination: ADDRESS,
        vlan_tags: if upper == Upper::Vlan {
            vec![tag]
        } else {
            Vec::new()
        },
        ..RequestFrame::edk2(client, UEFI_X64)
    }
}

/// Asks for two nodes: as firmware does, and so that the XDP program leaves it to the daemon.
fn ask(site: &mut Site, upper: Upper) -> Result<()> {
    let plain = request(upper, NODE_A);
    let unusual = RequestFrame {
        ip_options: vec![0x94, 4, 0, 0],
        ..request(upper, NODE_B)
    };
    for (request, winpe) in [(plain, "winboot/a/"), (unusual, "winboot/b/")] {
        let reply = site.tap.ask(&request);
        let reply = reply.with_context(|| format!("{upper:?}\n{}", site.describe()))?;
        let expected = Expected {
            siaddr: ADDRESS,
            ..Expected::new(winpe, UEFI_X64)
        };
        check_reply(&request.bytes(), &reply, &expected)?;
    }
    Ok(())
}

/// The first interface of the status.
fn interface(site: &Site) -> Result<Value> {
    let status = site.status()?;
    let interface = status.pointer("/interfaces/0");
    interface.cloned().context("no interface")
}

/// By every path there is, with what the status is to say of native mode.
fn answers_by_every_path(upper: Upper, why_not_native: &str) -> Result<()> {
    for (args, datapath, mode) in [
        (&["--path", "auto"][..], "kernel", Some("generic")),
        (&["--path", "kernel"], "kernel", Some("generic")),
        (&["--path", "af-xdp"], "af-xdp", Some("generic")),
        (&["--path", "raw"], "raw", None),
    ] {
        let mut site = site(upper, true, args)?;
        ask(&mut site, upper)?;
        let told = interface(&site)?;
        assert_eq!(told["name"], UPPER);
        assert_eq!(told["datapath"], datapath, "{upper:?}");
        assert_eq!(told["mode"].as_str(), mode, "{upper:?}: {told}");
        assert_eq!(told["counters"]["answered"], 2, "{upper:?}: {told}");
        let why = told.pointer("/fallback/why").and_then(Value::as_str);
        if datapath == "kernel" {
            let why = why.with_context(|| format!("no reason: {told}"))?;
            assert!(why.contains(why_not_native), "{why}");
            let text = site.command(&["status"])?.stdout;
            let line = format!("{UPPER} is served in generic mode, not native: {why}");
            assert!(text.contains(&line), "{text}");
            let log = format!("serving {UPPER} in generic mode, not native: {why}");
            site.daemon.wait_for(&log, Duration::from_secs(5))?;
        } else {
            assert_eq!(why.is_some(), mode.is_some(), "{told}");
        }
    }
    Ok(())
}

/// What the network core says of a driver that has no native XDP at all.
const NO_NATIVE: &str = "driver does not support XDP in native mode\"";

#[test]
fn a_bridge_is_served() -> Result<()> {
    answers_by_every_path(Upper::Bridge, NO_NATIVE)
}

#[test]
fn a_macvlan_is_served() -> Result<()> {
    answers_by_every_path(Upper::MacVlan, NO_NATIVE)
}

#[test]
#[ignore = "takes a kernel with ipvlan"]
fn an_ipvlan_is_served() -> Result<()> {
    answers_by_every_path(Upper::IpVlan, NO_NATIVE)
}

#[test]
#[ignore = "takes a kernel with VLANs"]
fn a_vlan_is_served() -> Result<()> {
    answers_by_every_path(Upper::Vlan, NO_NATIVE)
}

#[test]
#[ignore = "takes a kernel with teams"]
fn a_team_is_served() -> Result<()> {
    answers_by_every_path(Upper::Team, NO_NATIVE)
}

#[test]
#[ignore = "takes a kernel with bonds"]
fn a_bond_is_served() -> Result<()> {
    answers_by_every_path(Upper::Bond, "px0 is a veth")
}

/// The socket of a bond gets nothing that its members' drivers take.
#[test]
#[ignore = "takes a kernel with bonds"]
fn what_would_answer_nothing_on_a_bond_is_refused() -> Result<()> {
    let native = ["--path", "af-xdp", "--xdp-mode", "native"];
    let Err(error) = site(Upper::Bond, true, &native) else {
        bail!("it started");
    };
    let error = error.to_string();
    assert!(
        error.contains("up0 is a bond") && error.contains("--path kernel"),
        "{error}"
    );
    Ok(())
}

/// A bond's native program runs on its members, whose other ends may not take its replies.
#[test]
#[ignore = "takes a kernel with bonds"]
fn what_a_member_of_a_bond_loses_is_told() -> Result<()> {
    let native = ["--path", "kernel", "--xdp-mode", "native"];
    let started = site(Upper::Bond, false, &native);
    if !bonds_have_native_xdp()? {
        let Err(error) = started else {
            bail!("it started");
        };
        ensure!(error.to_string().contains(NO_NATIVE), "{error}");
        return Ok(());
    }
    let mut site = started?;
    site.daemon.wait_for(
        "px0 is a veth: its peer takes the replies",
        Duration::from_secs(5),
    )?;
    site.stays_silent(&request(Upper::Bond, NODE_A).bytes())?;
    let told = interface(&site)?;
    assert_eq!(told["lost"]["replies"], 1, "{told}");
    assert_eq!(told["counters"]["answered"], 0, "{told}");
    Ok(())
}

/// Linux 5.15 and newer.
fn bonds_have_native_xdp() -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.parse::<u32>().ok());
    Ok((numbers.next(), numbers.next()) >= (Some(5), Some(15)))
}
