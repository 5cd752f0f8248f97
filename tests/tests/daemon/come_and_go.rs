//! Interfaces, their names and their addresses come and go; the daemon follows.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{
    Daemon, Expected, Lab, LinkOptions, Namespace, RequestFrame, SERVER_INTERFACE, Tap, binary,
    check_reply,
};
use proxydhcp_lab::{bridge, link};
use serde_json::Value;

/// A node on the second wire.
const NODE_C: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 1);
const SECOND_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 0x01];
const SECOND_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
/// Far longer than the daemon takes to notice a change: that is milliseconds.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn an_interface_that_comes_later_is_served() -> Result<()> {
    for datapath in Datapath::ALL {
        // The daemon serves all interfaces, or one that is named.
        for names in [&[][..], &["-i", "px1"]] {
            let mut site = start(Lab::new()?, datapath, names)?;
            if !names.is_empty() {
                let ready = site.daemon.ready_line();
                assert_eq!(ready, "ready: no interface yet, waiting for px1; 2 nodes");
                assert_eq!(site.status()?["unserved"][0]["name"], "px1");
                let told = site.command(&["status"])?.stdout;
                let missing = "px1 is NOT served: there is no such interface yet";
                assert!(told.contains(missing), "{told}");
            }
            let mut wire = Wire::new(&site.lab)?;
            site.daemon.wait_for("serving px1 (", PATIENCE)?;
            wire.is_answered()?;
            let served: &[_] = if names.is_empty() {
                &["px0", "px1"]
            } else {
                &["px1"]
            };
            await_interfaces(&site, served)?;
            assert_eq!(site.status()?["unserved"], Value::Null);
        }
    }
    Ok(())
}

#[test]
fn no_interface_at_all_is_waited_for() -> Result<()> {
    let (namespace, files) = (Namespace::new()?, files()?);
    let mut daemon = Daemon::start(&namespace, &binary()?, &args(Datapath::Raw, &files, &[]))?;
    assert_eq!(daemon.ready_line(), "ready: no interface yet; 2 nodes");
    daemon.wait_for("no interface is up with an IPv4 address", PATIENCE)?;
    Ok(())
}

#[test]
fn one_that_is_deleted_is_let_go_of_and_served_again_when_it_is_back() -> Result<()> {
    for datapath in Datapath::ALL {
        let lab = Lab::new()?;
        let mut first = Wire::new(&lab)?;
        let mut site = start(lab, datapath, &[])?;
        first.is_answered()?;
        for _ in 0..3 {
            link::delete(&site.lab.server, "px1")?;
            await_interfaces(&site, &["px0"])?;
            site.ask_uefi(NODE_A, "winboot/a/")?;
            let mut wire = Wire::new(&site.lab)?;
            await_interfaces(&site, &["px0", "px1"])?;
            wire.is_answered()?;
        }
        site.daemon.stop()?;
    }
    Ok(())
}

/// So quickly that the daemon finds the same number and hardware address when it looks.
#[test]
fn one_that_is_remade_at_once_is_served_anew() -> Result<()> {
    for datapath in Datapath::ALL {
        let lab = Lab::new()?;
        let mut wire = Wire::new(&lab)?;
        let site = start(lab, datapath, &[])?;
        wire.is_answered()?;
        let same = LinkOptions {
            index: Some(link::index(&site.lab.server, "px1")?),
            ..LinkOptions::default()
        };
        link::delete(&site.lab.server, "px1")?;
        let mut wire = Wire::with(&site.lab, &same)?;
        let started = Instant::now();
        while wire.is_answered().is_err() {
            ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
        }
    }
    Ok(())
}

/// The kernel's message is nearly the same as for a deletion.
#[test]
fn one_that_leaves_a_bridge_is_served_on() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = start(Lab::new()?, datapath, &[])?;
        let server = &site.lab.server;
        bridge::make(server, "br0")?;
        bridge::add_port(server, "br0", SERVER_INTERFACE)?;
        bridge::remove_port(server, SERVER_INTERFACE)?;
        // When the second is noticed, all is done that came with the first.
        for last in [8, 9] {
            let address = Ipv4Addr::new(10, 77, 0, last);
            link::add_address(server, SERVER_INTERFACE, (address, 16))?;
            let told = site.daemon.wait_for(&address.to_string(), PATIENCE)?;
            ensure!(told.contains("this host's addresses are now"), "{told}");
        }
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let log = site.daemon.log();
        assert_eq!(log.matches("serving px0 (").count(), 1, "{log}");
    }
    Ok(())
}

/// The kernel does not say when another XDP program has gone.
#[test]
fn one_that_could_not_be_served_is_tried_again() -> Result<()> {
    for datapath in [Datapath::Native, Datapath::Generic, Datapath::AfXdp] {
        let lab = Lab::new()?;
        let mut wire = Wire::new(&lab)?;
        let mut site = start(lab, datapath, &["-i", "lan1"])?;
        let other = link::occupy_xdp(&site.lab.server, "px1")?;
        link::rename(&site.lab.server, "px1", "lan1")?;
        site.daemon.wait_for("lan1 is NOT served: XDP", PATIENCE)?;
        let told = site.command(&["status"])?.stdout;
        assert!(told.contains("another XDP program"), "{told}");
        // The log has it once, however often it is tried.
        thread::sleep(Duration::from_secs(2));
        let log = site.daemon.log();
        assert_eq!(log.matches("lan1 is NOT served").count(), 1, "{log}");

        drop(other);
        site.daemon.wait_for("serving lan1 (", PATIENCE)?;
        wire.is_answered()?;
        assert_eq!(site.status()?["unserved"], Value::Null);
    }
    Ok(())
}

#[test]
fn one_that_goes_down_and_up_is_answered_again() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = start(Lab::new()?, datapath, &[])?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        link::set_down(&site.lab.server, SERVER_INTERFACE)?;
        thread::sleep(Duration::from_millis(100));
        link::set_up(&site.lab.server, SERVER_INTERFACE)?;
        link::wait_until_up(&site.lab.server, SERVER_INTERFACE)?;
        link::wait_until_up(&site.lab.client, "pc0")?;
        let started = Instant::now();
        // The raw datapath notices that its interface was down.
        while site.tap.ask(&RequestFrame::edk2(NODE_A, UEFI_X64)).is_err() {
            ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
        }
        site.ask_uefi(NODE_A, "winboot/a/")?;
        await_interfaces(&site, &["px0"])?;
    }
    Ok(())
}

#[test]
fn a_name_that_changes_is_followed() -> Result<()> {
    for datapath in Datapath::ALL {
        // Any name will do.
        let mut site = start(Lab::new()?, datapath, &[])?;
        link::rename(&site.lab.server, SERVER_INTERFACE, "lan0")?;
        await_interfaces(&site, &["lan0"])?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        // The daemon is to serve another name at first, and then this one.
        let mut site = start(Lab::new()?, datapath, &["-i", "lan0"])?;
        await_interfaces(&site, &[])?;
        link::rename(&site.lab.server, SERVER_INTERFACE, "lan0")?;
        await_interfaces(&site, &["lan0"])?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        link::rename(&site.lab.server, "lan0", "px0")?;
        await_interfaces(&site, &[])?;
        site.stays_silent_to(NODE_A)?;
    }
    Ok(())
}

#[test]
fn an_address_that_is_new_is_answered_without_a_reload() -> Result<()> {
    const NEW: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
    for datapath in Datapath::ALL {
        let mut site = start(Lab::new()?, datapath, &[])?;
        let request = RequestFrame {
            destination: NEW,
            ..RequestFrame::edk2(NODE_A, UEFI_X64)
        };
        site.stays_silent(&request.bytes())?;
        link::add_address(&site.lab.server, SERVER_INTERFACE, (NEW, 16))?;
        site.daemon
            .wait_for("this host's addresses are now", PATIENCE)?;
        let reply = site.tap.ask(&request)?;
        let expected = Expected {
            siaddr: NEW,
            ..Expected::new("winboot/a/", UEFI_X64)
        };
        check_reply(&request.bytes(), &reply, &expected)?;
    }
    Ok(())
}

/// `px1` and `pc1`, and a client there.
pub(crate) struct Wire {
    tap: Tap,
    _takes_xdp: Option<OwnedFd>,
}

impl Wire {
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        Self::with(lab, &LinkOptions::default())
    }

    fn with(lab: &Lab, options: &LinkOptions) -> Result<Self> {
        let takes_xdp = lab.one_more_wire_with(1, options)?;
        Ok(Self {
            tap: Tap::open(&lab.client, "pc1")?,
            _takes_xdp: takes_xdp,
        })
    }

    pub(crate) fn is_answered(&mut self) -> Result<()> {
        let request = RequestFrame {
            destination_mac: SECOND_MAC,
            destination: SECOND_ADDRESS,
            ..RequestFrame::edk2(NODE_C, UEFI_X64)
        };
        let reply = self.tap.ask(&request)?;
        let expected = Expected {
            siaddr: SECOND_ADDRESS,
            ..Expected::new("winboot/c/", UEFI_X64)
        };
        check_reply(&request.bytes(), &reply, &expected)
    }
}

/// A node on each wire.
fn files() -> Result<Files> {
    let files = Files::new()?;
    files.write_config(&[("a", "winboot/a"), ("c", "winboot/c")])?;
    files.write_hosts(&[("10.77.1.1", "a"), ("10.78.1.1", "c")])?;
    Ok(files)
}

fn args(datapath: Datapath, files: &Files, names: &[&str]) -> Vec<String> {
    let mut args = serve_args(datapath, files, names);
    // Those that are named here, or all.
    args.retain(|arg| arg != SERVER_INTERFACE);
    let first = args.iter().position(|arg| arg == "-i");
    first.map(|first| args.remove(first));
    args
}

pub(crate) fn start(lab: Lab, datapath: Datapath, names: &[&str]) -> Result<Site> {
    let files = files()?;
    let daemon = Daemon::start(&lab.server, &binary()?, &args(datapath, &files, names))?;
    Site::of(lab, daemon, files)
}

/// Waits until these interfaces are served.
fn await_interfaces(site: &Site, names: &[&str]) -> Result<()> {
    let started = Instant::now();
    loop {
        let status = site.status()?;
        let served = status
            .get("interfaces")
            .and_then(Value::as_array)
            .context("no interfaces")?;
        let mut served: Vec<_> = served
            .iter()
            .filter_map(|one| one.get("name")?.as_str())
            .collect();
        served.sort_unstable();
        if served == names {
            return Ok(());
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "{status}\n{}",
            site.daemon.log()
        );
        thread::sleep(Duration::from_millis(5));
    }
}
