//! Commands that name a WinPE warn where it is not there or clients cannot boot it.

use std::fs;
use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{Ended, binary};

fn command(files: &Files, arguments: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    command
        .args(arguments)
        .arg("--tftp-root")
        .arg(files.path("tftp"));
    command.args(["--config", "proxydhcp.cfg", "--settings", "proxydhcp.toml"]);
    Ok(command.current_dir(files.path("")).output()?.into())
}

#[test]
fn a_winpe_that_is_not_there_or_not_sound_is_told() -> Result<()> {
    let files = Files::new()?;
    files.write_hosts(&[("10.0.0.1", "n1"), ("10.0.0.2", "n2")])?;
    fs::write(
        files.path("nodes.csv"),
        "n1,winboot/win12\nn2,winboot\\half\\Boot\n",
    )?;
    let set = |path: &str| {
        let path = format!("winpepath={path}");
        command(&files, &["node", "set", "n1", &path, "--control", "none"])
    };
    let import = || command(&files, &["cfg", "import", "nodes.csv", "--control", "none"]);
    let check = || command(&files, &["cfg", "check", "--hosts", "hosts"]);
    let lookup = |node: &str| {
        command(
            &files,
            &["lookup", node, "--hosts", "hosts", "--arch", "bios"],
        )
    };

    // Elsewhere is the TFTP root: nothing is known of it here.
    let ended = set("winboot/win12")?;
    assert!(
        ended.code == Some(0) && !ended.stderr.contains("warning"),
        "{ended:?}"
    );
    assert_eq!(check()?.code, Some(0));
    assert!(lookup("n1")?.stdout.ends_with("=> answered\n"));

    fs::create_dir_all(files.path("tftp/winboot/half/Boot"))?;
    let missing = format!(
        "there is no folder {}",
        files.path("tftp/winboot/win12/").display()
    );
    let half = "winboot/half/Boot/pxeboot.0: missing and ";
    let ended = set("winboot/win12")?;
    assert!(
        ended.code == Some(0) && ended.stderr.contains(&format!("warning: {missing}")),
        "{ended:?}"
    );
    let ended = set(r"winboot\half\")?;
    assert!(
        ended.stderr.contains(&format!("warning: {half}")),
        "{ended:?}"
    );
    assert!(ended.stdout.contains("winboot/half/"), "{ended:?}");
    let ended = set(r"C:\tftpboot\winboot\x")?;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("has a drive letter; set winpepath relative to the TFTP root"),
        "{ended:?}"
    );

    let ended = import()?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for part in [&missing, half] {
        assert!(
            ended.stderr.contains(&format!("warning: {part}")),
            "{part}: {ended:?}"
        );
    }
    let ended = check()?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for part in [
        format!("warning: record 1 (byte 0): the WinPE of 1 node: {missing}"),
        format!("warning: record 2 (byte 200): the WinPE of 1 node: {half}"),
    ] {
        assert!(ended.stdout.contains(&part), "{part}: {ended:?}");
    }
    for (node, part) in [("n1", &*missing), ("n2", half)] {
        let ended = lookup(node)?;
        assert!(
            ended
                .stdout
                .contains(&format!("That WinPE is not sound: {part}")),
            "{ended:?}"
        );
        assert!(
            ended
                .stdout
                .ends_with("=> answered, but it will not boot\n"),
            "{ended:?}"
        );
        assert_eq!(ended.code, Some(0));
    }
    Ok(())
}
