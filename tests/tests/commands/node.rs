//! `proxydhcp node`: changes are served from the next request on.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, NODE_DEFAULT, STRANGER, Site};
use proxydhcp_lab::{Ended, RequestFrame, binary};
use serde_json::Value;

/// A hang is noticed, and nothing else.
const PATIENCE: Duration = Duration::from_secs(20);

/// `proxydhcp node` with these arguments, on these files.
pub(crate) fn command(files: &Files, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.arg("node").args(args);
    for (flag, file) in [
        ("--config", "proxydhcp.cfg"),
        ("--control", "control.sock"),
        ("--settings", "proxydhcp.toml"),
    ] {
        command.arg(flag).arg(files.path(file));
    }
    if args.first() == Some(&"set") {
        command.arg("--hosts").arg(files.path("hosts"));
    }
    Ok(command)
}

pub(crate) fn node(files: &Files, args: &[&str]) -> Result<Ended> {
    Ok(Ended::from(command(files, args)?.output()?))
}

/// The output of `proxydhcp node`, which must succeed and print no complaint.
pub(crate) fn said(files: &Files, args: &[&str]) -> Result<String> {
    let ended = node(files, args)?;
    ensure!(
        (ended.code, ended.stderr.as_str()) == (Some(0), ""),
        "{args:?}: {ended:?}"
    );
    Ok(ended.stdout)
}

pub(crate) fn config(files: &Files) -> Result<Vec<u8>> {
    Ok(fs::read(files.path("proxydhcp.cfg"))?)
}

#[test]
fn a_node_boots_what_it_was_set_from_the_next_request_on() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        site.ask_uefi(NODE_B, "winboot/b/")?;

        let set = ["set", "b,default", "winpepath=/tftpboot/winboot/new"];
        let would = "changed b: winboot/b -> winboot/new/\n\
            changed default: (default) -> winboot/new/\n\
            0 added, 2 changed, 0 removed, 0 unchanged";
        let before = config(&site.files)?;
        let dry = said(&site.files, &[&set[..], &["--dry-run"]].concat())?;
        assert_eq!(dry, format!("{would}; dry run, nothing is written\n"));
        assert_eq!(config(&site.files)?, before);
        site.ask_uefi(NODE_B, "winboot/b/")?;

        let done = said(&site.files, &set)?;
        assert_eq!(
            done,
            format!("{would}\nin service: generation 2, 3 nodes\n")
        );
        site.ask_uefi(NODE_B, "winboot/new/")?;
        site.ask_bios(NODE_DEFAULT, "winboot/new/")?;
        site.ask_uefi(NODE_A, "winboot/a/")?;

        // However it is spelt, nothing changes, and so nothing is written or reloaded.
        let again = said(&site.files, &["set", "B,a", "winpepath=winboot/new/"])?;
        let changed = "changed a: winboot/a/ -> winboot/new/\n\
            0 added, 1 changed, 0 removed, 1 unchanged\n\
            in service: generation 3, 3 nodes\n";
        assert_eq!(again, changed);
        let again = said(&site.files, &["set", "B,a", "winpepath=winboot/new/"])?;
        assert_eq!(again, "0 added, 0 changed, 0 removed, 2 unchanged\n");
        assert_eq!(site.status()?["generation"], 3);

        let rm = node(&site.files, &["rm", "[7-8],/b|a,-a"])?;
        assert_eq!(rm.stderr, "proxydhcp: no such node: 7, 8\n");
        assert_eq!(rm.code, Some(1));
        assert_eq!(
            rm.stdout,
            "removed b: winboot/new/\n0 added, 0 changed, 1 removed, 0 unchanged\n\
             in service: generation 4, 2 nodes\n"
        );
        site.stays_silent_to(NODE_B)?;
        said(&site.files, &["set", "b", "winpepath="])?;
        site.ask_uefi(NODE_B, "")?;
    }
    Ok(())
}

#[test]
fn disabled_nodes_get_no_answer_whatever_others_get() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::with(datapath, &["--unknown", "default"])?;
        let [a, b, stranger] =
            [NODE_A, NODE_B, STRANGER].map(|address| RequestFrame::edk2(address, UEFI_X64));
        let hosts = [
            ("10.77.1.1", "a"),
            ("10.77.1.2", "b"),
            ("10.77.1.3", "default"),
            ("10.77.9.9", "norecord"),
        ];
        site.files.write_hosts(&hosts)?;
        site.ask(&stranger, "", UEFI_X64)?;

        let set = ["set", "a,norecord", "supportproxydhcp=no"];
        let disabled = "disabled a\ndisabled norecord\n\
            0 added, 0 changed, 0 removed, 2 disabled, 0 unchanged\n\
            in service: generation 2, 2 nodes\n";
        assert_eq!(said(&site.files, &set)?, disabled);
        site.stays_silent(&a.bytes())?;
        site.stays_silent(&stranger.bytes())?;
        site.ask(&b, "winboot/b/", UEFI_X64)?;
        let list = said(&site.files, &["list"])?;
        assert_eq!(
            list,
            "NODE      SUPPORTPROXYDHCP  WINPEPATH\n\
             a         no                winboot/a/\n\
             b         yes               winboot/b\n\
             default   yes               (default)\n\
             norecord  no                (no record)\n"
        );

        // The WinPE of a disabled node can be set; it takes effect once the node is enabled.
        let set = said(&site.files, &["set", "a,b", "winpepath=winboot/c"])?;
        assert!(
            set.contains("still disabled (supportproxydhcp=no): a\n"),
            "{set}"
        );
        site.stays_silent(&a.bytes())?;
        site.ask(&b, "winboot/c/", UEFI_X64)?;
        // It outlives every reload.
        assert_eq!(site.command(&["reload"])?.code, Some(0));
        site.stays_silent(&a.bytes())?;

        let yes = said(&site.files, &["set", "a", "supportproxydhcp=yes"])?;
        assert!(yes.starts_with("enabled a\n"), "{yes}");
        site.ask(&a, "winboot/c/", UEFI_X64)?;
        // A node that has been removed is a stranger.
        let rm = said(&site.files, &["rm", "norecord,b"])?;
        assert!(
            rm.starts_with("removed norecord (was disabled)\nremoved b: winboot/c/\n"),
            "{rm}"
        );
        site.ask(&stranger, "", UEFI_X64)?;
        site.ask(&b, "", UEFI_X64)?;
    }
    Ok(())
}

#[test]
fn the_list_of_disabled_nodes_may_be_written_by_hand() -> Result<()> {
    let mut site = Site::with(Datapath::Generic, &["--unknown", "default", "--watch"])?;
    let generation = |site: &Site| -> Result<Value> { Ok(site.status()?["generation"].clone()) };
    let file = site.files.path("proxydhcp.cfg.disabled");
    fs::write(&file, "# in repair\na  # fan\nb c\n")?;
    let started = Instant::now();
    while generation(&site)? != 2 {
        ensure!(started.elapsed() < PATIENCE, "{}", site.daemon.log());
        thread::sleep(Duration::from_millis(5));
    }
    site.stays_silent_to(NODE_A)?;
    site.ask_uefi(NODE_B, "winboot/b/")?;
    let warning = site.status()?["warnings"][0].to_string();
    assert!(
        warning.contains("cfg.disabled, line 3: ' ' cannot be in a node name"),
        "{warning}"
    );
    said(&site.files, &["set", "b", "supportproxydhcp=no"])?;
    said(&site.files, &["set", "a", "supportproxydhcp=yes"])?;
    assert_eq!(fs::read_to_string(&file)?, "# in repair\nb c\nb\n");
    Ok(())
}

#[test]
fn the_last_node_may_go() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    let rm = said(&site.files, &["rm", "/.*"])?;
    assert!(
        rm.ends_with("3 removed, 0 unchanged\nin service: generation 2, 0 nodes\n"),
        "{rm}"
    );
    site.stays_silent_to(NODE_A)?;
    said(&site.files, &["set", "a", "winpepath=winboot/a"])?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    said(&site.files, &["set", "a", "supportproxydhcp=no"])?;
    site.stays_silent_to(NODE_A)?;

    // The warnings of the daemon are about these nodes, and no others.
    let set = node(&site.files, &["set", "other", "winpepath=winboot/x"])?;
    assert!(
        set.stderr
            .ends_with("the resolver is being asked for other\n")
            && set.stderr.lines().all(|line| line.contains("other")),
        "{set:?}"
    );
    assert_eq!(set.code, Some(0));
    Ok(())
}
