//! How long the kernel answers without a daemon, and what it does then.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::RequestFrame;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Datapath, NODE_A, NODE_B, Site};

use super::{IN_KERNEL, PATIENCE, restart, shell};

const OUTLIVE: Duration = Duration::from_secs(3);
const ARGS: [&str; 2] = ["--outlive", "3s"];

/// Waits until a node gets no answer any more. Until then, each answer is right.
fn await_silence(site: &mut Site) -> Result<()> {
    let started = Instant::now();
    let request = RequestFrame::edk2(NODE_A, UEFI_X64);
    while site.tap.ask(&request).is_ok() {
        ensure!(started.elapsed() < PATIENCE, "it goes on answering");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn it_ends_and_whoever_has_the_port_gets_the_requests() -> Result<()> {
    for datapath in IN_KERNEL {
        let mut site = Site::with(datapath, &ARGS)?;
        // As long as the daemon lives, so does the program.
        thread::sleep(OUTLIVE + OUTLIVE / 2);
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.daemon.crash()?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let status = site.command(&["status"])?;
        ensure!(
            status.stderr.contains("s (--outlive), until the next one"),
            "{status:?}"
        );
        await_silence(&mut site)?;
        let status = site.command(&["status"])?;
        ensure!(
            status.stderr.contains("no longer answers for a daemon"),
            "{status:?}"
        );

        // Another daemon, such as xCAT's own.
        let other = site.lab.server.run(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4011))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })?;
        site.stays_silent_to(NODE_B)?;
        let (_, from) = other.recv_from(&mut [0; 1024])?;
        assert_eq!(from.ip(), NODE_B);
        drop(other);

        restart(&mut site, datapath, &ARGS)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let counters = site.counters()?;
        let expired = counters["expired"].as_u64().unwrap_or_default();
        ensure!(expired >= 2, "{counters}");
    }
    Ok(())
}

/// It stands still for longer than that, as a virtual machine's host may have it.
#[test]
fn one_that_stood_still_goes_on() -> Result<()> {
    let mut site = Site::with(Datapath::Generic, &ARGS)?;
    let pid = site.daemon.pid();
    shell(&site.lab.server, &format!("kill -STOP {pid}"))?;
    await_silence(&mut site)?;
    shell(&site.lab.server, &format!("kill -CONT {pid}"))?;
    let started = Instant::now();
    let request = RequestFrame::edk2(NODE_A, UEFI_X64);
    while site.tap.ask(&request).is_err() {
        ensure!(started.elapsed() < PATIENCE, "it stays silent");
    }
    Ok(())
}

/// A daemon whose files are rejected keeps its predecessor answering, but does not revive one that
/// has ended.
#[test]
fn a_successor_without_tables_keeps_it_answering() -> Result<()> {
    for ends_first in [false, true] {
        let mut site = Site::with(Datapath::Generic, &ARGS)?;
        site.daemon.crash()?;
        if ends_first {
            await_silence(&mut site)?;
        }
        let config = site.files.path("proxydhcp.cfg");
        let sound = fs::read(&config)?;
        fs::write(&config, "no records")?;
        restart(&mut site, Datapath::Generic, &ARGS)?;
        if ends_first {
            site.stays_silent_to(NODE_A)?;
        } else {
            thread::sleep(OUTLIVE + OUTLIVE / 2);
            site.ask_uefi(NODE_A, "winboot/a/")?;
        }
        fs::write(&config, sound)?;
        ensure!(
            site.command(&["reload"])?.code == Some(0),
            "{}",
            site.describe()
        );
        site.ask_uefi(NODE_A, "winboot/a/")?;
        // It is renewed from now on.
        thread::sleep(OUTLIVE + OUTLIVE / 2);
        site.ask_uefi(NODE_A, "winboot/a/")?;
    }
    Ok(())
}

/// Without the setting, it goes on; and with it, what was for ever gets an end.
#[test]
fn the_setting_of_the_latest_daemon_counts() -> Result<()> {
    let mut site = Site::usual(Datapath::Generic)?;
    site.daemon.crash()?;
    thread::sleep(OUTLIVE + OUTLIVE / 2);
    site.ask_uefi(NODE_A, "winboot/a/")?;
    restart(&mut site, Datapath::Generic, &ARGS)?;
    site.daemon.crash()?;
    await_silence(&mut site)?;
    restart(&mut site, Datapath::Generic, &[])?;
    site.daemon.crash()?;
    thread::sleep(OUTLIVE + OUTLIVE / 2);
    site.ask_uefi(NODE_A, "winboot/a/")?;
    Ok(())
}
