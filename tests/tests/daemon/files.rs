//! A file that cannot be a `proxydhcp.cfg` is rejected, with the reason and the remedy, and the
//! tables in service stay.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use proxydhcp_lab::RequestFrame;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, Site};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

/// Puts something in the place of `proxydhcp.cfg`.
type Replace<'a> = &'a dyn Fn(&Path) -> Result<()>;

#[test]
fn what_is_no_config_is_rejected_and_the_last_good_one_serves_on() -> Result<()> {
    let noise = noise(10 * MIB);
    let cut = noise.len() / 200 * 200;
    assert_ne!(cut, noise.len());
    let bytes = |bytes: &[u8]| {
        let bytes = bytes.to_vec();
        move |path: &Path| Ok(fs::write(path, &bytes)?)
    };
    let record = cfg_bytes([("a", "winboot/elsewhere/")])?;
    let cases: &[(Replace, &[&str])] = &[
        (&|_| Ok(()), &["no such file", "check the path"]),
        (&bytes(b""), &["has no records", "reload --allow-empty"]),
        (
            &bytes(&record[..199]),
            &[
                "199 bytes is not a multiple of the 200-byte record",
                "`proxydhcp cfg repair`",
            ],
        ),
        (
            &bytes(&[&record[..], b"x"].concat()),
            &["201 bytes is not a multiple", "`proxydhcp cfg repair`"],
        ),
        (
            &bytes(&noise),
            &["10485760 bytes is not a multiple", "`proxydhcp cfg repair`"],
        ),
        (
            &bytes(&noise[..cut]),
            &[
                "none of its records is sound (52428 records in all)",
                "record 1:",
                "check the path",
            ],
        ),
        (
            &|path| Ok(fs::create_dir(path)?),
            &["not a regular file", "name the file itself"],
        ),
        (
            &|path| {
                Ok(mknodat(
                    CWD,
                    path,
                    FileType::Fifo,
                    Mode::RUSR | Mode::WUSR,
                    0,
                )?)
            },
            &["not a regular file", "name the file itself"],
        ),
    ];

    let mut site = Site::usual(Datapath::Native)?;
    let path = site.files.path("proxydhcp.cfg");
    let name = path.display().to_string();
    for (number, (replace, message)) in cases.iter().enumerate() {
        remove(&path)?;
        replace(&path)?;
        let reload = site.command(&["reload"])?;
        assert_eq!(reload.code, Some(1), "{reload:?}");
        assert_eq!(reload.stdout, "");
        for part in message.iter().chain([&name.as_str(), &"not reloaded"]) {
            assert!(reload.stderr.contains(part), "{part:?}: {reload:?}");
        }
        // The message is one line that is fit for a terminal, whatever the file contains.
        assert_eq!(
            reload.stderr.trim_end().matches(char::is_control).count(),
            0
        );

        let status = site.status()?;
        let rejected = status["rejected"].as_str().unwrap_or_default();
        assert!(
            !rejected.is_empty() && reload.stderr.contains(rejected),
            "{status}"
        );
        let text = site.command(&["status"])?.stdout;
        assert!(
            text.contains("NOT in service") && text.contains(rejected),
            "{text}"
        );
        assert_eq!(status["generation"], number + 1, "{status}");
        assert_eq!(status["nodes"], 3, "{status}");
        let winpe = if number == 0 { "a" } else { "mended" };
        site.ask(
            &RequestFrame::edk2(NODE_A, UEFI_X64),
            &format!("winboot/{winpe}/"),
            UEFI_X64,
        )?;
        site.ask_bios(NODE_B, "winboot/b/")?;

        remove(&path)?;
        site.files
            .write_config(&[("a", "winboot/mended"), ("b", "winboot/b"), ("default", "")])?;
        let mended = site.command(&["reload"])?;
        assert_eq!(mended.code, Some(0), "{mended:?}");
        assert_is_clear(&site.status()?);
        site.ask_uefi(NODE_A, "winboot/mended/")?;
    }
    Ok(())
}

#[test]
fn the_last_node_can_be_removed_on_purpose() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    site.files.write_raw_config(b"")?;
    let reload = site.command(&["reload", "--allow-empty"])?;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    assert!(
        reload.stdout.contains("removed: a, b, default"),
        "{reload:?}"
    );
    site.stays_silent_to(NODE_A)?;
    assert_eq!(site.counters()?["refused"], json!({"unknown-client": 1}));
    assert_is_clear(&site.status()?);

    // From empty to empty there is nothing to lose.
    let again = site.command(&["reload"])?;
    assert_eq!(again.code, Some(0), "{again:?}");
    site.files.write_config(&[("a", "winboot/back")])?;
    let back = site.command(&["reload"])?;
    assert!(back.stdout.contains("added: a\n"), "{back:?}");
    site.ask_uefi(NODE_A, "winboot/back/")?;
    Ok(())
}

#[test]
fn a_daemon_that_starts_with_a_bad_file_waits_for_a_good_one() -> Result<()> {
    let half = cfg_bytes([("a", "winboot/a")])?[..100].to_vec();
    for datapath in [Datapath::Native, Datapath::Raw] {
        for (config, reason) in [(None, "no such file"), (Some(&half), "100 bytes")] {
            let files = Files::new()?;
            files.write_hosts(&[("10.77.1.1", "a")])?;
            if let Some(config) = config {
                files.write_raw_config(config)?;
            }
            // Nobody is sent to the default either: the nodes of the file are not known yet.
            let mut site = Site::start(datapath, files, &["--unknown", "default"])?;
            assert!(site.daemon.ready_line().ends_with("; 0 nodes"));
            // The log comes through another pipe than the ready line.
            let told = site.daemon.wait_for("ERROR", Duration::from_secs(5))?;
            assert!(told.contains(reason), "{told}");
            let status = site.status()?;
            let rejected = status["rejected"].as_str();
            assert!(rejected.is_some_and(|why| why.contains(reason)), "{status}");
            site.stays_silent_to(NODE_A)?;

            site.files.write_config(&[("a", "winboot/a")])?;
            let reload = site.command(&["reload"])?;
            assert_eq!(reload.code, Some(0), "{reload:?}");
            assert!(reload.stdout.contains("added: a\n"), "{reload:?}");
            assert_is_clear(&site.status()?);
            site.ask_uefi(NODE_A, "winboot/a/")?;
        }
    }
    Ok(())
}

/// Whether the status is free of complaints.
#[track_caller]
fn assert_is_clear(status: &Value) {
    assert_eq!(status["rejected"], Value::Null);
    for problems in ["refused", "unresolved", "warnings"] {
        assert_eq!(status[problems], json!([]), "{problems}");
    }
}

/// Makes room for another.
fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        fs::remove_dir(path)?;
    } else if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Pseudorandom bytes, equal in each run (Marsaglia's xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length / 8).flat_map(|_| next().to_le_bytes()).collect()
}
