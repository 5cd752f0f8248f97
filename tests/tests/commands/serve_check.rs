//! `proxydhcp serve --check`: what keeps the daemon from serving, before it is restarted.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::link::{set_up, xdp_program};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site};
use proxydhcp_lab::{Ended, Lab, SERVER_INTERFACE, binary};

fn check(lab: &Lab, files: &Files, args: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    command
        .args(["serve", "--check"])
        .args(args)
        .args(files.args());
    Ok(lab.server.output(command)?.into())
}

fn sound(files: &Files) -> String {
    let config = files.path("proxydhcp.cfg");
    format!(
        "sound: px0; 3 nodes from 3 records of {}\n",
        config.display()
    )
}

#[test]
fn it_says_what_would_be_served_and_touches_nothing() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    fs::remove_file(files.path("hosts"))?;
    files.write_hosts(&[
        ("10.77.1.1", "a"),
        ("10.77.1.2", "b"),
        ("10.77.1.3", "default"),
    ])?;
    let before = fs::read_dir(files.path("."))?.count();
    let ended = check(&lab, &files, &["-i", "px0"])?;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout, sound(&files));
    assert_eq!(fs::read_dir(files.path("."))?.count(), before);
    assert_eq!(xdp_program(&lab.server, SERVER_INTERFACE)?, None);
    Ok(())
}

#[test]
fn a_daemon_that_runs_is_neither_in_its_way_nor_disturbed() -> Result<()> {
    let mut site = Site::usual(Datapath::Generic)?;
    let ended = check(&site.lab, &site.files, &["-i", "px0"])?;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout, sound(&site.files));
    assert_eq!(site.status()?["generation"], 1);
    site.ask_uefi(NODE_A, "winboot/a/").map(drop)
}

#[test]
fn files_and_interfaces_that_are_not_there_are_warnings() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    files.write_config(&[("a", "winboot/a/"), ("b", "../b")])?;
    let ended = check(&lab, &files, &["-i", "px0,px7"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for text in [
        "warning: px7: there is no such interface yet",
        "warning: 1 record of ",
        "record 2 (b): the WinPE path ../b has a '..'",
    ] {
        assert!(ended.stderr.contains(text), "{text}: {ended:?}");
    }
    // The daemon has not root's right to read all files, and is root all the same.
    fs::set_permissions(files.path("proxydhcp.cfg"), Permissions::from_mode(0o0))?;
    let ended = check(&lab, &files, &["-i", "px0"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = "warning: no node would be served: ";
    assert!(ended.stderr.starts_with(told) && ended.stderr.contains("make it readable"));
    Ok(())
}

#[test]
fn offers_that_no_node_can_get_are_a_warning() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let told = "warning: offers: no node gets one, because none is known by its hardware address";
    for (offers, warns) in [
        (&["--offers", "known"][..], true),
        (&["--offers", "all", "--unknown", "default"], false),
        (&[], false),
    ] {
        let ended = check(&lab, &files, &[&["-i", "px0"], offers].concat())?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stderr.contains(told), warns, "{offers:?}: {ended:?}");
    }
    fs::write(
        files.path("proxydhcp.cfg.hardware"),
        "a mac=52:54:00:00:00:0a\n",
    )?;
    let ended = check(&lab, &files, &["-i", "px0", "--offers", "known"])?;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    Ok(())
}

#[test]
fn what_keeps_the_daemon_from_serving_fails_with_the_daemons_own_exit_code() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    set_up(&lab.server, "lo")?;
    let own = ["-i", "px0"];
    for (settings, args, code, told) in [
        (
            "interfaces = \"px0\"\n",
            &[][..],
            78,
            "unknown key \"interfaces\"",
        ),
        ("check = true\n", &[], 78, "unknown key \"check\""),
        (
            "path = \"raw\"\nxdp-mode = \"native\"\n",
            &[],
            78,
            "leave out one of path and xdp-mode",
        ),
        ("", &["-i", "lo"], 1, "lo is not Ethernet"),
        (
            "",
            &["--control-group", "nobodys"],
            1,
            "there is no group nobodys",
        ),
        ("", &own, 1, "is not a socket"),
    ] {
        files.write_settings(settings)?;
        if told == "is not a socket" {
            fs::write(files.path("control.sock"), "")?;
        }
        for check in [&["--check"][..], &[]] {
            let mut command = Command::new(binary()?);
            command
                .arg("serve")
                .args(check)
                .args(files.args())
                .args(args);
            let ended = Ended::from(lab.server.output(command)?);
            assert_eq!(ended.code, Some(code), "{check:?} {ended:?}");
            let lines: Vec<_> = ended.stderr.lines().collect();
            let last = lines.last().copied().unwrap_or_default();
            assert!(
                last.starts_with("proxydhcp: ") && last.contains(told),
                "{ended:?}"
            );
        }
    }
    Ok(())
}
