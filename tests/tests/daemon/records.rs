//! A record that cannot be served is refused by number, name, reason and remedy; the others are in
//! service.

use std::fs;

use anyhow::{Result, ensure};
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::site::{Datapath, NODE_A, NODE_B, NODE_DEFAULT, Site};
use serde_json::{Value, json};

/// A bad record: its name, its path, the name that is shown, and the reason.
type BadRecord = (
    &'static [u8],
    &'static [u8],
    &'static str,
    &'static [&'static str],
);

const BAD: &[BadRecord] = &[
    (
        b"b",
        &[b'x'; 150],
        "b",
        &["168 characters", "rename the WinPE, 41 shorter"],
    ),
    (
        b"b",
        b"/tftpboots/w",
        "b",
        &["/tftpboots/w is outside the TFTP root /tftpboot", "move"],
    ),
    (b"b", b"/etc", "b", &["outside the TFTP root"]),
    (
        b"b",
        b"winboot/../../etc",
        "b",
        &["has a '..'", "plain path"],
    ),
    (b"b", b"/tftpboot/../etc", "b", &["has a '..'"]),
    (
        b"b",
        b"winboot/\nb",
        "b",
        &["control character", "set winpepath again"],
    ),
    (
        b"b",
        b"winboot/\xff",
        "b",
        &["not text", "set winpepath again"],
    ),
    (
        b"\xff\xfe",
        b"winboot/b",
        r"\xff\xfe",
        &["the node name is not text", "run `proxydhcp node set`"],
    ),
    (
        b"b\x1b[31m\n",
        b"",
        r"b\u{1b}[31m\n",
        &["the node name is not text"],
    ),
    (b"b c", b"", "b c", &["the node name is not text"]),
    (
        b"",
        b"winboot/b",
        "",
        &["the node name is empty", "remove the record"],
    ),
    (b"", b"", "", &["the node name is empty"]),
];

#[test]
fn a_bad_record_is_named_and_hides_no_other() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    for &(name, path, shown, reason) in BAD {
        let winpe = format!("winboot/{}/", site.status()?["generation"]);
        let records: [(&[u8], &[u8]); 3] = [
            (b"a", winpe.as_bytes()),
            (name, path),
            (b"default", winpe.as_bytes()),
        ];
        site.files.write_raw_config(&cfg_bytes(records)?)?;
        let reload = site.command(&["reload"])?;
        assert_eq!(reload.code, Some(2), "{reload:?}");
        let line = reload
            .stdout
            .lines()
            .find(|line| line.starts_with("refused: "));
        let line = line.unwrap_or_default();
        assert!(
            line.starts_with(&format!("refused: record 2 ({shown}): ")),
            "{reload:?}"
        );
        for part in reason {
            assert!(line.contains(part), "{part:?}: {reload:?}");
        }
        assert!(
            !reload
                .stdout
                .contains(|c: char| c.is_control() && c != '\n'),
            "{reload:?}"
        );

        let status = site.status()?;
        let refused = &status["refused"];
        assert_eq!(refused.as_array().map(Vec::len), Some(1), "{status}");
        assert_eq!(
            (&refused[0]["number"], &refused[0]["name"]),
            (&json!(2), &json!(shown))
        );
        assert!(
            line.ends_with(refused[0]["reason"].as_str().unwrap_or("-")),
            "{status}"
        );
        assert_eq!(status["rejected"], Value::Null);
        let text = site.command(&["status"])?.stdout;
        assert!(text.contains(line), "{text}");

        // The records before and behind it are served.
        site.ask_uefi(NODE_A, &winpe)?;
        site.ask_bios(NODE_DEFAULT, &winpe)?;
        site.stays_silent_to(NODE_B)?;
    }

    site.files
        .write_config(&[("a", ""), ("b", ""), ("default", "")])?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    assert_eq!(site.status()?["refused"], json!([]));
    site.ask_uefi(NODE_B, "")?;
    Ok(())
}

#[test]
fn an_absolute_path_within_the_tftp_root_is_as_good_as_a_relative_one() -> Result<()> {
    for (more, path) in [
        (&[][..], "/tftpboot/winboot/x"),
        (&["--tftp-root", "/srv/tftp"], "/srv/tftp/winboot/x/"),
        (&["--tftp-root", "/srv/tftp/"], "/srv/tftp//winboot/x"),
    ] {
        let mut site = Site::with(Datapath::Native, more)?;
        site.files
            .write_config(&[("a", path), ("b", "winboot/x")])?;
        let reload = site.command(&["reload"])?;
        assert_eq!(reload.code, Some(0), "{reload:?}");
        site.ask_uefi(NODE_A, "winboot/x/")?;
        site.ask_uefi(NODE_B, "winboot/x/")?;
    }
    let site = Site::with(Datapath::Native, &["--tftp-root", "/srv/tftp"])?;
    site.files
        .write_config(&[("a", "/tftpboot/x"), ("b", "")])?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(2), "{reload:?}");
    let reason = "outside the TFTP root /srv/tftp;";
    assert!(reload.stdout.contains(reason), "{reload:?}");
    Ok(())
}

#[test]
fn the_last_of_several_records_of_a_node_is_served() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    site.files.write_config(&[
        ("a", "winboot/first"),
        ("b", "winboot/b"),
        ("A", "winboot/second"),
    ])?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    site.ask_uefi(NODE_A, "winboot/second/")?;
    site.ask_uefi(NODE_B, "winboot/b/")?;
    let status = site.status()?;
    let warning = status["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("records 1 and 3"), "{status}");
    assert!(warning.contains("record 3 is served"), "{status}");
    for text in [
        reload.stdout,
        site.command(&["status"])?.stdout,
        site.daemon.log(),
    ] {
        ensure!(text.contains(warning), "{text}");
    }
    Ok(())
}

#[test]
fn a_record_of_many_bad_ones_is_not_lost_in_them() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    let mut records = vec![("b", ".."); 500];
    records.push(("a", "winboot/last"));
    site.files.write_config(&records)?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(2), "{reload:?}");
    assert!(reload.stdout.contains("refused: 480 more"), "{reload:?}");
    assert_eq!(
        site.status()?["refused"].as_array().map(Vec::len),
        Some(500)
    );
    site.ask_uefi(NODE_A, "winboot/last/")?;
    Ok(())
}

#[test]
fn a_hosts_file_that_is_missing_or_half_wrong_is_told_of() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    let hosts = "10.77.1.300 b\nnonsense\n10.77.1.1 a\n10.77.1.3\tdefault # the third\n";
    fs::write(site.files.path("hosts"), hosts)?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    let warning = "malformed lines are left out: 2, the first is line 1";
    assert!(reload.stdout.contains(warning), "{reload:?}");
    assert_eq!(site.status()?["unresolved"], json!(["b"]));
    site.ask_uefi(NODE_A, "winboot/a/")?;
    site.ask_uefi(NODE_DEFAULT, "")?;
    site.stays_silent_to(NODE_B)?;

    // That looks as if all nodes were gone: the tables in service stay.
    fs::remove_file(site.files.path("hosts"))?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(1), "{reload:?}");
    for part in ["(3 records in all)", "has an address", "--allow-empty"] {
        assert!(reload.stderr.contains(part), "{part}: {reload:?}");
    }
    site.ask_uefi(NODE_A, "winboot/a/")?;
    let reload = site.command(&["reload", "--allow-empty"])?;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    assert!(reload.stdout.contains("hosts: no such file"), "{reload:?}");
    assert_eq!(site.status()?["unresolved"], json!(["a", "b", "default"]));
    site.stays_silent_to(NODE_A)?;
    Ok(())
}
