//! One XDP program for all interfaces, and what should be in service against what is.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::bpf::BpfObjects;
use proxydhcp_lab::link::{self, xdp_program};
use proxydhcp_lab::site::{Datapath, NODE_A, Site};
use proxydhcp_lab::xdp::detach_pinned;
use proxydhcp_lab::{Lab, RequestFrame, SERVER_INTERFACE};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use crate::come_and_go::{Wire, start};

/// It is looked every 10 s.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn all_interfaces_share_a_program_and_have_their_own_counts() -> Result<()> {
    for datapath in [Datapath::Native, Datapath::Generic, Datapath::AfXdp] {
        let one = start(Lab::new()?, datapath, &[])?;
        let objects = |site: &Site| -> Result<Vec<&str>> {
            let held = BpfObjects::of(site.daemon.pid())?;
            Ok(held
                .iter()
                .map(|(kind, _)| kind)
                .filter(|kind| *kind != "link_id")
                .collect())
        };
        let of_one = objects(&one)?;
        drop(one);

        let lab = Lab::new()?;
        let mut wire = Wire::new(&lab)?;
        let _more = (2..9)
            .map(|number| lab.one_more_wire(number))
            .collect::<Result<Vec<_>>>()?;
        let mut site = start(lab, datapath, &[])?;
        assert_eq!(objects(&site)?, of_one, "{datapath:?}");
        let program = xdp_program(&site.lab.server, SERVER_INTERFACE)?.context("no program")?;
        for number in 1..9 {
            let of_this = xdp_program(&site.lab.server, &format!("px{number}"))?;
            assert_eq!(of_this, Some(program), "{datapath:?}, px{number}");
        }
        site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
        wire.is_answered()?;
        wire.is_answered()?;
        let counted = |site: &Site| -> Result<Vec<u64>> {
            let status = site.status()?;
            let answered = |number: u8| {
                let mut all = status["interfaces"].as_array().into_iter().flatten();
                let one = all.find(|one| one["name"] == format!("px{number}"));
                one.and_then(|one| one["program"]["received"].as_u64())
                    .context("none")
            };
            (0..4).map(answered).collect()
        };
        assert_eq!(counted(&site)?, [1, 2, 0, 0], "{datapath:?}");

        // One that goes takes its own counts with it.
        link::delete(&site.lab.server, "px2")?;
        site.daemon.wait_for("px2 is no longer served", PATIENCE)?;
        let _again = site.lab.one_more_wire(2)?;
        let started = Instant::now();
        while counted(&site).is_err() {
            ensure!(started.elapsed() < PATIENCE, "{}", site.daemon.log());
        }
        wire.is_answered()?;
        assert_eq!(counted(&site)?, [1, 3, 0, 0], "{datapath:?}");
        site.daemon.stop()?;
        assert_eq!(xdp_program(&site.lab.server, "px1")?, None);
    }
    Ok(())
}

/// The kernel says nothing of it.
#[test]
fn a_program_that_somebody_takes_away_is_put_back() -> Result<()> {
    for datapath in [Datapath::Native, Datapath::Generic] {
        let mut site = start(Lab::new()?, datapath, &[])?;
        site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
        detach_pinned(&link_of(&site)?)?;
        await_kernel(&mut site)?;

        // And a link that somebody removes.
        fs::remove_file(link_of(&site)?)?;
        let started = Instant::now();
        while link_of(&site).is_err() {
            ensure!(started.elapsed() < PATIENCE, "{}", site.daemon.log());
        }
        await_kernel(&mut site)?;
        site.daemon.crash()?;
        site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    }
    Ok(())
}

fn await_kernel(site: &mut Site) -> Result<()> {
    let started = Instant::now();
    loop {
        let program = xdp_program(&site.lab.server, SERVER_INTERFACE)?;
        let status = site.status()?;
        let datapath = status.pointer("/interfaces/0/datapath");
        if program.is_some() && datapath.is_some_and(|it| it == "kernel") {
            site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
            return Ok(());
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "{status}: {}",
            site.daemon.log()
        );
    }
}

/// The link of the site's only interface, as this process reaches it.
fn link_of(site: &Site) -> Result<PathBuf> {
    let mut folder = PathBuf::from(format!(
        "/proc/{}/root/sys/fs/bpf/proxydhcp",
        site.daemon.pid()
    ));
    for _ in 0..3 {
        let mut inner = fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        folder = inner.find(|path| path.is_dir()).context("no folder")?;
    }
    let link = folder.join("link");
    ensure!(link.exists(), "no link");
    Ok(link)
}

/// While descriptors are short.
#[test]
fn tables_that_could_not_be_installed_are_tried_again() -> Result<()> {
    let mut site = start(Lab::new()?, Datapath::Generic, &[])?;
    let new = [10, 77, 0, 9].into();
    let pid = i32::try_from(site.daemon.pid())?;
    let pid = Pid::from_raw(pid).context("no process")?;
    // The daemon has inherited this process's limits.
    let inherited = getrlimit(Resource::Nofile);
    let limit = |current: Option<u64>| {
        let limit = Rlimit {
            current,
            ..inherited
        };
        prlimit(Some(pid), Resource::Nofile, limit)
    };
    // One is left: for the socket that asks the kernel for addresses, and after that for one map.
    let is_open = |fd: &u64| {
        let path = format!("/proc/{}/fd/{fd}", site.daemon.pid());
        fs::symlink_metadata(path).is_ok()
    };
    limit((0..).filter(|fd| !is_open(fd)).nth(1))?;
    link::add_address(&site.lab.server, SERVER_INTERFACE, (new, 16))?;
    site.daemon.wait_for("Too many open files", PATIENCE)?;
    limit(inherited.current)?;
    site.daemon
        .wait_for("this host's addresses are now", PATIENCE)?;
    let request = RequestFrame {
        destination: new,
        ..RequestFrame::edk2(NODE_A, 7)
    };
    site.tap.ask(&request)?;
    let status = site.status()?;
    assert_eq!(status["uninstalled"], Value::Null, "{status}");
    assert_eq!(status["rejected"], Value::Null, "{status}");
    Ok(())
}
