//! The effect of a reload, on the nodes and for its caller.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, NODE_DEFAULT, Site, serve_args};
use proxydhcp_lab::{Daemon, Ended, Lab, RequestFrame, binary};
use rustix::process::Signal;
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_signal_reloads() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        let request = RequestFrame::edk2(NODE_A, UEFI_X64);
        site.ask(&request, "winboot/a/", UEFI_X64)?;
        // The second comes with log rotation, and from a terminal that goes away.
        for (generation, signal, winpe) in [
            (2, Signal::USR1, "winboot/other/"),
            (3, Signal::HUP, "winboot/third/"),
        ] {
            site.files.write_config(&[("a", winpe)])?;
            site.daemon.signal(signal)?;
            let asked = Instant::now();
            while site.status()?["generation"] != generation {
                ensure!(asked.elapsed() < PATIENCE, "{}", site.describe());
            }
            site.ask(&request, winpe, UEFI_X64)?;
        }
    }
    Ok(())
}

/// The log of a daemon whose terminal has gone away.
#[test]
fn a_log_that_cannot_be_written_is_no_reason_to_end() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"exec "$@" 2>/dev/full"#, "sh"])
        .arg(binary()?)
        .args(serve_args(Datapath::Raw, &files, &[]));
    let daemon = Daemon::start_command(&lab.server, command)?;
    let mut site = Site::of(lab, daemon, files)?;
    site.files.write_config(&[("a", "winboot/other")])?;
    site.daemon.signal(Signal::HUP)?;
    let asked = Instant::now();
    while site.tap.ask(&RequestFrame::edk2(NODE_B, UEFI_X64)).is_ok() {
        ensure!(asked.elapsed() < PATIENCE, "not reloaded");
    }
    site.ask_uefi(NODE_A, "winboot/other/")?;
    let (status, _) = site.daemon.stop()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn it_tells_what_it_has_changed() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    site.files
        .write_config(&[("a", "winboot/a"), ("b", "winboot/c"), ("new", "")])?;
    site.files.write_hosts(&[
        ("10.77.1.1", "a.cluster a"),
        ("10.77.1.2", "b b.cluster"),
        ("10.77.1.3", "default"),
        ("10.77.1.4", "new"),
    ])?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    let lines: Vec<&str> = reload.stdout.lines().collect();
    let summary = "generation 2: 3 nodes; 1 added, 1 removed, 1 changed; ";
    assert!(lines[0].starts_with(summary), "{reload:?}");
    assert!(lines[0].contains(" ms (read "), "{reload:?}");
    assert_eq!(lines[1..], ["added: new", "removed: default", "changed: b"]);

    site.ask_uefi(NODE_A, "winboot/a/")?;
    site.ask_uefi(NODE_B, "winboot/c/")?;
    site.ask(&RequestFrame::ipxe([10, 77, 1, 4].into(), BIOS), "", BIOS)?;

    let again = site.command(&["reload"])?;
    let summary = "generation 3: 3 nodes; 0 added, 0 removed, 0 changed; ";
    assert!(again.stdout.starts_with(summary), "{again:?}");
    assert_eq!(again.stdout.lines().count(), 1, "{again:?}");
    Ok(())
}

#[test]
fn a_node_that_was_removed_is_an_unknown_client() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        let request = RequestFrame::edk2(NODE_B, UEFI_X64);
        site.ask(&request, "winboot/b/", UEFI_X64)?;
        site.files
            .write_config(&[("a", "winboot/a"), ("default", "")])?;
        let reload = site.command(&["reload"])?;
        assert_eq!(reload.code, Some(0), "{reload:?}");
        site.stays_silent(&request.bytes())?;
        let counters = site.counters()?;
        assert_eq!(counters["refused"], json!({"unknown-client": 1}));
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.ask_uefi(NODE_DEFAULT, "")?;
    }
    Ok(())
}

#[test]
fn reloads_that_coincide_all_succeed() -> Result<()> {
    const AT_ONCE: usize = 20;
    let mut site = Site::usual(Datapath::Native)?;
    site.files
        .write_config(&[("a", "winboot/new"), ("default", "")])?;
    let ended: Vec<Result<Ended>> = thread::scope(|scope| {
        let reload = || scope.spawn(|| site.command(&["reload", "--json"]));
        let threads: Vec<_> = (0..AT_ONCE).map(|_| reload()).collect();
        threads.into_iter().filter_map(|t| t.join().ok()).collect()
    });
    assert_eq!(ended.len(), AT_ONCE);
    let mut newest = 1;
    for reload in ended {
        let reload = reload?;
        assert_eq!(reload.code, Some(0), "{reload:?}");
        // Callers that wait for the same reload get the same report.
        let report: serde_json::Value = serde_json::from_str(&reload.stdout)?;
        assert_eq!(report["nodes"], 2, "{report}");
        newest = newest.max(report["generation"].as_u64().unwrap_or_default());
    }
    println!("{AT_ONCE} at once were {} reloads", newest - 1);
    assert!((2..=21).contains(&newest), "{newest}");
    assert_eq!(site.status()?["generation"], newest);
    site.ask_uefi(NODE_A, "winboot/new/")?;
    Ok(())
}

/// A reload that is asked for after the files were changed reads the change, even if another reload
/// was at work already.
#[test]
fn a_reload_that_waits_for_another_takes_what_is_there_by_then() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    for round in 0..20 {
        let winpe = format!("winboot/{round}/");
        site.daemon.signal(Signal::USR1)?;
        site.files.write_config(&[("a", &winpe)])?;
        let reload = site.command(&["reload"])?;
        assert_eq!(reload.code, Some(0), "{reload:?}");
        site.ask_uefi(NODE_A, &winpe)?;
    }
    Ok(())
}
