//! Starts in the place of a daemon that was killed which fail, or are given up.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use proxydhcp_lab::link::occupy_xdp;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, LinkOptions, binary};
use rustix::process::Signal;

use super::{PATIENCE, pinned, shell};

#[test]
fn a_start_that_fails_leaves_the_kernel_answering() -> Result<()> {
    let lab = Lab::new()?;
    let _second = lab.one_more_wire(1)?;
    let mut site = Site::start_in(lab, Datapath::Native, Files::usual()?, &[])?;
    site.daemon.crash()?;
    let other = occupy_xdp(&site.lab.server, "px1")?;
    let args = serve_args(Datapath::Native, &site.files, &["-i", "px1"]);
    let Err(error) = Daemon::start(&site.lab.server, &binary()?, &args) else {
        bail!("it started");
    };
    ensure!(error.to_string().contains("another XDP program"), "{error}");
    site.ask_uefi(NODE_A, "winboot/a/")?;

    drop(other);
    site.daemon = Daemon::start(&site.lab.server, &binary()?, &args)?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    site.daemon.stop()?;
    assert_eq!(pinned(&site.lab.server)?, "");
    Ok(())
}

/// In the driver, XDP does not take large frames.
#[test]
fn a_mode_that_does_not_work_is_said_to_have_ended_the_other() -> Result<()> {
    let lab = Lab::with(&LinkOptions {
        takes_xdp: false,
        mtu: Some(9000),
        ..LinkOptions::default()
    })?;
    let mut site = Site::start_in(lab, Datapath::Generic, Files::usual()?, &[])?;
    site.daemon.crash()?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    let args = serve_args(Datapath::Native, &site.files, &[]);
    let Err(error) = Daemon::start(&site.lab.server, &binary()?, &args) else {
        bail!("it started");
    };
    for told in [
        "the kernel says \"veth: Peer MTU is too large to set XDP\"",
        "the kernel no longer answers",
        "--xdp-mode generic",
    ] {
        ensure!(error.to_string().contains(told), "{error}");
    }
    site.stays_silent_to(NODE_A)?;
    Ok(())
}

/// The other daemon may run in another network namespace.
#[test]
fn a_start_that_waits_for_the_pins_of_another_can_be_stopped() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let folder = "/sys/fs/bpf/proxydhcp";
    let mut holder = Command::new("sh");
    holder.args([
        "-euc",
        &format!("mkdir -m 700 {folder}; exec flock --no-fork {folder} sleep 60"),
    ]);
    let mut holder = lab.server.spawn(holder)?;
    // flock would make a file where the folder is not there yet.
    let is_held = format!("test -d {folder} && ! flock -n {folder} true");
    let is_held = || shell(&lab.server, &is_held).is_ok();
    let started = Instant::now();
    while !is_held() {
        ensure!(started.elapsed() < PATIENCE, "it is not held");
    }
    let mut command = Command::new(binary()?);
    command.args(serve_args(Datapath::Native, &files, &[]));
    let mut daemon = Daemon::spawn(&lab.server, command)?;
    let waits = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()));
        let open = open.into_iter().flatten().flatten();
        let mut paths = open.filter_map(|file| std::fs::read_link(file.path()).ok());
        paths.any(|path| path.starts_with(folder))
    };
    while !waits() {
        ensure!(started.elapsed() < PATIENCE, "{}", daemon.log());
    }
    daemon.signal(Signal::TERM)?;
    let asked = Instant::now();
    let status = daemon.wait(2 * PATIENCE)?;
    println!("while it waited for pins: stopped in {:?}", asked.elapsed());
    assert!(status.success(), "{status}: {}", daemon.log());
    assert!(!daemon.log().contains("ready"), "{}", daemon.log());
    holder.kill()?;
    holder.wait()?;
    Ok(())
}
