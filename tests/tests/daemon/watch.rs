//! `--watch`: files that have changed are read, once their writer is done.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, Site};
use proxydhcp_lab::{Daemon, Lab, RequestFrame, binary};
use serde_json::{Value, json};

use crate::resolved::wait_until;

/// Longer than a change takes to be noticed.
const WHILE: Duration = Duration::from_millis(400);

fn watching(files: Files) -> Result<Site> {
    Site::start(Datapath::Native, files, &["--watch"])
}

fn generation(site: &Site) -> Result<u64> {
    let status = site.status()?;
    let number = status.get("generation").and_then(Value::as_u64);
    number.with_context(|| status.to_string())
}

/// Waits until the file that makes this the WinPE of `a` is in service.
fn wait_for_winpe(site: &mut Site, before: u64, winpe: &str) -> Result<()> {
    let took = wait_until(site, |status| status["generation"].as_u64() > Some(before))?;
    println!("{winpe} in service {took:?} after it was written");
    site.ask_uefi(NODE_A, winpe)?;
    assert_eq!(site.status()?.get("rejected"), Some(&Value::Null));
    Ok(())
}

#[test]
fn files_are_reloaded_however_they_are_written() -> Result<()> {
    let mut site = watching(Files::usual()?)?;
    let (config, next) = (site.files.path("proxydhcp.cfg"), site.files.path("next"));

    // In place, as xCAT does.
    site.files.write_config(&[("a", "winboot/in-place")])?;
    wait_for_winpe(&mut site, 1, "winboot/in-place/")?;
    fs::write(&next, cfg_bytes([("a", "winboot/renamed")])?)?;
    fs::rename(&next, &config)?;
    wait_for_winpe(&mut site, 2, "winboot/renamed/")?;
    fs::remove_file(&config)?;
    site.files.write_config(&[("a", "winboot/made-anew")])?;
    wait_for_winpe(&mut site, 3, "winboot/made-anew/")?;

    fs::remove_file(&config)?;
    wait_until(&site, |status| status["rejected"].is_string())?;
    site.ask_uefi(NODE_A, "winboot/made-anew/")?;
    site.files
        .write_config(&[("a", "winboot/late"), ("b", "winboot/b")])?;
    wait_for_winpe(&mut site, 4, "winboot/late/")?;

    site.files
        .write_hosts(&[("10.77.1.1", "b"), ("10.77.1.2", "a")])?;
    wait_until(&site, |status| status["generation"] == 6)?;
    site.ask_uefi(NODE_A, "winboot/b/")?;
    site.ask_uefi(NODE_B, "winboot/late/")?;
    // Other files in the folder are no concern.
    fs::write(&next, "")?;
    thread::sleep(WHILE);
    assert_eq!(generation(&site)?, 6);
    Ok(())
}

#[test]
fn a_slow_writer_is_waited_for() -> Result<()> {
    let mut site = watching(Files::usual()?)?;
    let bytes = cfg_bytes([
        ("b", "winboot/first"),
        ("default", "winboot/second"),
        ("a", "winboot/last"),
    ])?;
    let mut file = fs::File::create(site.files.path("proxydhcp.cfg"))?;
    // Each part is a sound file as it is.
    for record in bytes.chunks(200) {
        file.write_all(record)?;
        thread::sleep(WHILE);
        assert_eq!(generation(&site)?, 1);
        site.ask_uefi(NODE_A, "winboot/a/")?;
    }
    drop(file);
    wait_for_winpe(&mut site, 1, "winboot/last/")?;
    assert_eq!(generation(&site)?, 2);
    Ok(())
}

#[test]
fn half_a_file_is_waited_for_and_then_rejected() -> Result<()> {
    let mut site = watching(Files::usual()?)?;
    let bytes = cfg_bytes([("a", "winboot/whole"), ("b", "")])?;
    let path = site.files.path("proxydhcp.cfg");
    fs::write(&path, &bytes[..300])?;
    let written = Instant::now();
    let rest = || -> Result<()> {
        let mut file = OpenOptions::new().append(true).open(&path)?;
        Ok(file.write_all(&bytes[300..])?)
    };
    thread::sleep(WHILE);
    rest()?;
    wait_for_winpe(&mut site, 1, "winboot/whole/")?;
    assert!(
        !site.daemon.log().contains("not reloaded"),
        "{}",
        site.daemon.log()
    );

    fs::write(&path, &bytes[..300])?;
    wait_until(&site, |status| status["rejected"].is_string())?;
    println!("half a file is rejected {:?} after", written.elapsed());
    let status = site.status()?;
    let rejected = status["rejected"].as_str().unwrap_or_default();
    let reason = "300 bytes is not a multiple of the 200-byte record";
    assert!(rejected.contains(reason), "{status}");
    assert_eq!(status["generation"], 2);
    site.ask_uefi(NODE_A, "winboot/whole/")?;
    rest()?;
    wait_for_winpe(&mut site, 2, "winboot/whole/")
}

#[test]
fn many_changes_are_few_reloads() -> Result<()> {
    const CHANGES: u64 = 300;
    let mut site = watching(Files::usual()?)?;
    let started = Instant::now();
    for change in 0..CHANGES {
        let winpe = format!("winboot/{change}/");
        site.files.write_config(&[("a", &winpe)])?;
        thread::sleep(Duration::from_millis(change % 4));
    }
    let last = format!("winboot/{}/", CHANGES - 1);
    let wrote = started.elapsed();
    while site.ask_uefi(NODE_A, &last).is_err() {
        anyhow::ensure!(
            started.elapsed() < Duration::from_secs(30),
            "{}",
            site.describe()
        );
    }
    // The kernel answers by new tables a moment before the status counts them.
    thread::sleep(WHILE);
    let reloads = generation(&site)? - 1;
    println!("{CHANGES} changes in {wrote:?}: {reloads} reloads");
    assert!((1..CHANGES / 3).contains(&reloads), "{reloads}");
    site.ask_uefi(NODE_A, &last)?;
    Ok(())
}

#[test]
fn files_behind_links_and_files_that_come_later_are_noticed() -> Result<()> {
    let files = Files::new()?;
    fs::create_dir(files.path("real"))?;
    symlink("real/hosts", files.path("hosts"))?;
    let mut site = watching(files)?;
    assert_eq!(site.status()?["nodes"], 0);
    fs::write(site.files.path("real/hosts"), "10.77.1.1 a\n")?;
    site.files.write_config(&[("a", "winboot/a"), ("b", "")])?;
    wait_until(&site, |status| status["nodes"] == 1)?;
    site.ask_uefi(NODE_A, "winboot/a/")?;

    fs::write(site.files.path("real/next"), "10.77.1.1 a\n10.77.1.2 b\n")?;
    fs::rename(site.files.path("real/next"), site.files.path("real/hosts"))?;
    wait_until(&site, |status| status["nodes"] == 2)?;
    site.ask_uefi(NODE_B, "")?;
    assert_eq!(site.status()?["rejected"], json!(null));
    Ok(())
}

/// Whether the status reports trouble with watching.
fn is_late(status: &Value) -> bool {
    let warnings = status["warnings"].as_array();
    warnings.is_some_and(|warnings| {
        let mut warnings = warnings.iter().filter_map(Value::as_str);
        warnings.any(|warning| warning.starts_with("changed files are noticed up to 30s late: "))
    })
}

#[test]
fn a_folder_that_cannot_be_read_for_a_while_is_watched_again() -> Result<()> {
    let files = Files::usual()?;
    fs::create_dir(files.path("lib"))?;
    fs::rename(files.path("proxydhcp.cfg"), files.path("lib/cfg"))?;
    symlink("lib/cfg", files.path("proxydhcp.cfg"))?;
    let mut site = watching(files)?;
    let lib = site.files.path("lib");
    let allow = |mode| fs::set_permissions(&lib, Permissions::from_mode(mode));
    assert!(!is_late(&site.status()?));

    // Long enough for the file to be taken for gone, and for no longer than a moment.
    for (change, pause) in [
        (2, Duration::from_secs(4)),
        (3, Duration::ZERO),
        (4, Duration::from_secs(1)),
    ] {
        allow(0o000)?;
        wait_until(&site, is_late)?;
        let text = site.command(&["status"])?.stdout;
        let told = format!("cannot watch {}; check its permissions", lib.display());
        assert!(
            text.contains("warning: changed files are noticed") && text.contains(&told),
            "{text}"
        );
        site.daemon.wait_for(&told, Duration::from_secs(5))?;
        thread::sleep(pause);
        site.ask(
            &RequestFrame::edk2(NODE_A, UEFI_X64),
            &last_winpe(change),
            UEFI_X64,
        )?;
        // Files of others change at the same time.
        site.files
            .write_config(&[("a", &format!("winboot/{change}"))])?;
        allow(0o755)?;
        wait_until(&site, |status| !is_late(status))?;
        let before = change - 1;
        wait_for_winpe(&mut site, before, &format!("winboot/{change}/"))?;
    }
    let again = "changed files are noticed at once again";
    site.daemon.wait_for(again, Duration::from_secs(5))?;
    assert_eq!(site.daemon.log().matches(again).count(), 3);
    Ok(())
}

/// The WinPE of `a` before this change.
fn last_winpe(change: u64) -> String {
    match change {
        2 => "winboot/a/".to_owned(),
        _ => format!("winboot/{}/", change - 1),
    }
}

/// In a namespace of users that has limits of its own.
#[test]
fn where_the_kernel_watches_nothing_files_are_looked_at_until_it_does() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    // It reads them as any user would.
    fs::set_permissions(files.path(""), Permissions::from_mode(0o755))?;
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--net", "sh", "-c"])
        .arg("echo 0 > /proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\"")
        .arg(binary()?)
        .args(["serve", "--path", "raw", "--watch"])
        .args(files.args());
    let daemon = Daemon::start_command(&lab.server, command)?;
    let mut site = Site::of(lab, daemon, files)?;
    let status = site.status()?;
    assert!(is_late(&status), "{status}");
    assert!(status.to_string().contains("max_user_watches"), "{status}");
    site.files.write_config(&[("a", "winboot/new")])?;
    let took = wait_until(&site, |status| status["generation"] == 2)?;
    println!("noticed {took:?} after it was written");

    let pid = site.daemon.pid().to_string();
    let raise = "echo 1000 > /proc/sys/user/max_inotify_watches";
    let raised = Command::new("nsenter")
        .args(["--user", "--target", &pid, "sh", "-c", raise])
        .status()?;
    assert!(raised.success());
    wait_until(&site, |status| !is_late(status))?;
    let again = "changed files are noticed at once again";
    site.daemon.wait_for(again, Duration::from_secs(5))?;
    Ok(())
}
