//! Where an interface is served less well than it could be, the status says so, and why.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::link::{occupy_xdp, xdp_program};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, Site, serve_args};
use proxydhcp_lab::stack::add_altname;
use proxydhcp_lab::{Daemon, Lab, LinkOptions, RequestFrame, SERVER_INTERFACE, binary, link};
use serde_json::Value;

/// By these arguments, beside those for the files.
fn site(lab: Lab, args: &[&str]) -> Result<Site> {
    let files = Files::usual()?;
    let mut all: Vec<_> = args.iter().map(|&arg| arg.to_owned()).collect();
    all.insert(0, "serve".to_owned());
    all.extend(files.args());
    let daemon = Daemon::start(&lab.server, &binary()?, &all)?;
    Site::of(lab, daemon, files)
}

fn interface(site: &Site) -> Result<Value> {
    let status = site.status()?;
    let interface = status.pointer("/interfaces/0");
    interface.cloned().context("no interface")
}

#[test]
fn auto_says_why_a_veth_is_not_served_natively() -> Result<()> {
    let site = site(Lab::new()?, &["-i", SERVER_INTERFACE])?;
    let told = interface(&site)?;
    assert_eq!(told["fallback"]["instead_of"], "native");
    let text = site.command(&["status"])?.stdout;
    assert!(
        text.contains("px0 is served in generic mode, not native: px0 is a veth"),
        "{text}"
    );
    Ok(())
}

#[test]
fn what_was_asked_for_needs_no_reason() -> Result<()> {
    for datapath in [Datapath::Native, Datapath::Generic, Datapath::Raw] {
        let told = interface(&Site::usual(datapath)?)?;
        assert_eq!(told["fallback"], Value::Null, "{datapath:?}");
    }
    Ok(())
}

#[test]
fn auto_says_why_raw_serves_instead_of_the_kernel() -> Result<()> {
    let lab = Lab::new()?;
    let _other = occupy_xdp(&lab.server, SERVER_INTERFACE)?;
    let id = xdp_program(&lab.server, SERVER_INTERFACE)?.context("no program")?;
    let site = site(lab, &["-i", SERVER_INTERFACE])?;
    let told = interface(&site)?;
    assert_eq!(told["datapath"], "raw");
    assert_eq!(told["fallback"]["instead_of"], "kernel");
    let why = told["fallback"]["why"].as_str().context("no reason")?;
    ensure!(
        why.contains(&format!("another XDP program (id {id};")),
        "{why}"
    );
    let text = site.command(&["status"])?.stdout;
    let line = format!("px0 is served by the raw datapath instead of the kernel: {why}");
    assert!(text.contains(&line), "{text}");
    Ok(())
}

/// A veth refuses native XDP where its other end sends larger frames than fit, and gives a reason that
/// no link's error code has.
#[test]
fn a_refusal_has_the_driver_s_own_words() -> Result<()> {
    let lab = Lab::with(&LinkOptions {
        takes_xdp: false,
        mtu: Some(9000),
        ..LinkOptions::default()
    })?;
    let native = ["-i", SERVER_INTERFACE, "--xdp-mode", "native"];
    let mut site = site(lab, &native)?;
    let told = interface(&site)?;
    assert_eq!(told["datapath"], "raw");
    let why = told["fallback"]["why"].as_str().context("no reason")?;
    ensure!(
        why.contains("native: the kernel says \"veth: Peer MTU is too large to set XDP\""),
        "{why}"
    );
    assert_eq!(xdp_program(&site.lab.server, SERVER_INTERFACE)?, None);
    site.ask(
        &RequestFrame::edk2(NODE_A, UEFI_X64),
        "winboot/a/",
        UEFI_X64,
    )?;
    site.daemon.stop()?;

    let kernel = [&native[..], &["--path", "kernel"]].concat();
    let mut args: Vec<_> = ["serve"]
        .iter()
        .chain(&kernel)
        .map(|&arg| arg.to_owned())
        .collect();
    args.extend(site.files.args());
    let Err(error) = Daemon::start(&site.lab.server, &binary()?, &args) else {
        anyhow::bail!("it started");
    };
    ensure!(
        error.to_string().contains("veth: Peer MTU is too large"),
        "{error}"
    );
    Ok(())
}

/// The other end of the wire has no XDP program, and takes no reply of a native one.
#[test]
fn replies_that_the_driver_drops_are_told_and_count_on_when_a_daemon_was_killed() -> Result<()> {
    let lab = Lab::with(&LinkOptions {
        takes_xdp: false,
        ..LinkOptions::default()
    })?;
    let mut site = Site::start_in(lab, Datapath::Native, Files::usual()?, &[])?;
    for node in [NODE_A, NODE_B, NODE_A] {
        site.stays_silent(&RequestFrame::edk2(node, UEFI_X64).bytes())?;
    }
    let lost = |site: &Site, replies: u64| -> Result<()> {
        let told = interface(site)?;
        assert_eq!(told["lost"]["replies"], replies, "{told}");
        for share in ["counters", "program"] {
            let counters = &told[share];
            assert_eq!(counters["received"], replies, "{told}");
            assert_eq!(counters["answered"], 0, "{told}");
            assert_eq!(counters["unsent"], replies, "{told}");
        }
        let remedy = told["lost"]["remedy"].as_str().context("no remedy")?;
        assert!(remedy.contains("--xdp-mode generic"), "{remedy}");
        let text = site.command(&["status"])?.stdout;
        let line = format!("px0: the driver has lost {replies} replies of the XDP program; ");
        assert!(text.contains(&line), "{text}");
        Ok(())
    };
    lost(&site, 3)?;

    site.daemon.crash()?;
    site.stays_silent(&RequestFrame::edk2(NODE_B, UEFI_X64).bytes())?;
    let args = serve_args(Datapath::Native, &site.files, &[]);
    site.daemon = Daemon::start(&site.lab.server, &binary()?, &args)?;
    lost(&site, 4)?;

    // A clean stop ends the count, and what was lost before is nobody's.
    site.daemon.stop()?;
    site.daemon = Daemon::start(&site.lab.server, &binary()?, &args)?;
    assert_eq!(interface(&site)?["lost"]["replies"], 0);
    Ok(())
}

#[test]
fn any_name_of_an_interface_serves_it_once() -> Result<()> {
    const ALTNAME: &str = "a-name-longer-than-fifteen-bytes";
    for names in [
        &["-i", ALTNAME][..],
        &["-i", SERVER_INTERFACE, "-i", ALTNAME],
        &["-i", ALTNAME, "-i", "another", "-i", SERVER_INTERFACE],
    ] {
        let lab = Lab::new()?;
        for altname in [ALTNAME, "another"] {
            add_altname(&lab.server, SERVER_INTERFACE, altname)?;
        }
        let mut site = site(lab, names)?;
        assert_eq!(
            site.daemon.ready_line(),
            "ready: px0 (kernel, generic); 3 nodes"
        );
        site.ask(
            &RequestFrame::edk2(NODE_A, UEFI_X64),
            "winboot/a/",
            UEFI_X64,
        )?;
        let status = site.status()?;
        assert_eq!(status["interfaces"][0]["name"], SERVER_INTERFACE);
        assert_eq!(status["interfaces"][1], Value::Null);
        assert_eq!(status["unserved"], Value::Null);
    }
    Ok(())
}

#[test]
fn an_interface_is_served_once_it_has_the_name() -> Result<()> {
    let lab = Lab::new()?;
    let mut site = site(lab, &["-i", "lan"])?;
    assert_eq!(site.status()?["unserved"][0]["name"], "lan");
    add_altname(&site.lab.server, SERVER_INTERFACE, "lan")?;
    site.daemon
        .wait_for("serving px0 (kernel", Duration::from_secs(10))?;
    site.ask(
        &RequestFrame::edk2(NODE_A, UEFI_X64),
        "winboot/a/",
        UEFI_X64,
    )?;
    assert_eq!(site.status()?["unserved"], Value::Null);
    // Its own name may change: it has the other one still.
    link::set_down(&site.lab.server, SERVER_INTERFACE)?;
    link::rename(&site.lab.server, SERVER_INTERFACE, "px9")?;
    link::set_up(&site.lab.server, "px9")?;
    site.ask(
        &RequestFrame::edk2(NODE_A, UEFI_X64),
        "winboot/a/",
        UEFI_X64,
    )?;
    // That is noticed a little later, and nothing is said of it.
    let renamed = Instant::now();
    while interface(&site)?["name"] != "px9" {
        ensure!(
            renamed.elapsed() < Duration::from_secs(10),
            "{}",
            site.describe()
        );
    }
    Ok(())
}
