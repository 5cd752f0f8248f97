//! The settings file: it replaces flags, gives way to them, and is read by the commands, too.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, STRANGER, Site};
use proxydhcp_lab::{Daemon, Ended, Expected, Lab, RequestFrame, binary, check_reply};
use serde_json::Value;

#[test]
fn a_file_can_say_all_that_flags_can() -> Result<()> {
    let files = Files::usual()?;
    // An absolute path, which is good only under the TFTP root of the settings file.
    files.write_config(&[("a", "/srv/tftp/winboot/a")])?;
    let [config, hosts, control] =
        ["proxydhcp.cfg", "hosts", "other.sock"].map(|name| files.path(name));
    files.write_settings(&format!(
        "interface = [\"px0\"]\nconfig = {config:?}\nhosts = {hosts:?}\ncontrol = {control:?}\n\
         path = \"kernel\"\nxdp-mode = \"generic\"\nunknown = \"default\"\n\
         next-server = \"10.77.0.5\"\ntftp-root = \"/srv/tftp\"\n"
    ))?;
    let path = files.path("proxydhcp.toml");
    let settings = ["--settings", path.to_str().context("not text")?];

    let lab = Lab::new()?;
    let serve = [&["serve"], &settings[..]].concat();
    let daemon = Daemon::start(&lab.server, &binary()?, &serve)?;
    assert_eq!(daemon.ready_line(), "ready: px0 (kernel, generic); 1 node");
    let mut tap = lab.tap()?;
    for (node, winpe) in [(NODE_A, "winboot/a/"), (STRANGER, "")] {
        let request = RequestFrame::edk2(node, UEFI_X64);
        let expected = Expected {
            siaddr: [10, 77, 0, 5].into(),
            ..Expected::new(winpe, UEFI_X64)
        };
        check_reply(&request.bytes(), &tap.ask(&request)?, &expected)?;
    }

    // The commands find the socket where the daemon does.
    let run = |args: &[&str]| -> Result<Ended> {
        let output = daemon.proxydhcp(&lab.server, &[args, &settings[..]].concat())?;
        Ok(Ended::from(output))
    };
    let reload = run(&["reload", "--json"])?;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    let status: Value = serde_json::from_str(&run(&["status", "--json"])?.stdout)?;
    assert_eq!(status["pid"], daemon.pid());
    assert_eq!(status["generation"], 2);

    // Changes of the file take effect at the next start.
    files.write_settings(&format!("control = {control:?}\nunknown = \"ignore\"\n"))?;
    assert_eq!(run(&["reload"])?.code, Some(0));
    let request = RequestFrame::edk2(STRANGER, UEFI_X64);
    tap.ask(&request)?;
    Ok(())
}

#[test]
fn a_flag_wins_over_the_file() -> Result<()> {
    let files = Files::usual()?;
    files.write_settings(
        "interface = [\"nowhere0\"]\npath = \"af-xdp\"\nunknown = \"default\"\n\
         control = \"/nowhere/control.sock\"\nnext-server = \"10.77.0.5\"\n",
    )?;
    let mut site = Site::start(Datapath::Raw, files, &["--unknown", "ignore"])?;
    assert_eq!(site.daemon.ready_line(), "ready: px0 (raw); 3 nodes");
    site.stays_silent_to(STRANGER)?;
    let request = RequestFrame::edk2(NODE_A, UEFI_X64);
    let expected = Expected {
        siaddr: [10, 77, 0, 5].into(),
        ..Expected::new("winboot/a/", UEFI_X64)
    };
    check_reply(&request.bytes(), &site.tap.ask(&request)?, &expected)?;
    Ok(())
}

#[test]
fn a_bad_file_keeps_the_daemon_from_starting() -> Result<()> {
    let files = Files::usual()?;
    let path = files.path("proxydhcp.toml").display().to_string();
    let lab = Lab::new()?;
    let run = |args: &[&str]| -> Result<Ended> {
        let mut command = Command::new(binary()?);
        command.args(args).args(["--settings", &path]);
        Ok(Ended::from(lab.server.output(command)?))
    };
    let cases = [
        (
            "# typo\nhsots = \"/etc/hosts\"\n",
            ":2:1: unknown key \"hsots\" (did you mean hosts?); the keys are ",
        ),
        (
            "unknown = \"all\"",
            ":1:11: unknown does not take \"all\": it is one of ignore, default",
        ),
        (
            "[loaders]\n7 = \"../a.efi\"\n",
            ":2:5: \"../a.efi\" has a '..'; write its plain path ",
        ),
    ];
    for (text, told) in cases {
        files.write_settings(text)?;
        for command in ["serve", "reload", "status"] {
            let ended = run(&[command])?;
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""));
            let told = format!("proxydhcp: {path}{told}");
            assert!(ended.stderr.starts_with(&told), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        }
        // A command that is given the socket does not need the file.
        let ended = run(&["status", "--control", "/nowhere/control.sock"])?;
        let told = "proxydhcp: no daemon listens on /nowhere/control.sock; ";
        assert!(ended.stderr.starts_with(told), "{ended:?}");
    }
    fs::remove_file(&path)?;
    let ended = run(&["serve"])?;
    let told = format!("proxydhcp: {path}: no such file; check --settings\n");
    assert_eq!((ended.code, ended.stderr), (Some(78), told));
    Ok(())
}

#[test]
fn the_default_file_is_read_and_may_be_missing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("proxydhcp.toml");
    let told = |command: &str| Ok::<_, anyhow::Error>(with_etc(folder.path(), command)?.stderr);

    let socket = "/run/proxydhcp/control.sock";
    for command in ["status", "reload"] {
        let without = told(command)?;
        assert!(without.contains(&format!("on {socket};")), "{without}");
    }
    fs::write(&file, "control = \"/nowhere/control.sock\"\n")?;
    for command in ["status", "reload"] {
        let with = told(command)?;
        assert!(with.contains("on /nowhere/control.sock;"), "{with}");
    }
    fs::write(&file, "hosts = 3\n")?;
    for command in ["serve", "status", "reload"] {
        let bad = told(command)?;
        assert!(
            bad.starts_with("proxydhcp: /etc/proxydhcp.toml:1:9: hosts takes text"),
            "{bad}"
        );
    }
    Ok(())
}

/// Runs a command that fails, in a private network, where `etc` is `/etc` and nothing is in `/run`.
fn with_etc(etc: &Path, command: &str) -> Result<Ended> {
    let lab = Lab::new()?;
    let mut shell = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc && mount -t tmpfs none /run && exec \"$1\" \"$2\"";
    shell.args(["--mount", "sh", "-c", script]);
    shell.args([etc, &binary()?, Path::new(command)]);
    let ended = Ended::from(lab.server.output(shell)?);
    if ![Some(1), Some(78)].contains(&ended.code) || !ended.stderr.starts_with("proxydhcp: ") {
        bail!("{ended:?}");
    }
    Ok(ended)
}
