//! Noderanges of the commands that change no node: `dhcp-conf` and `winpe activate`.

use std::fs;
use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{Ended, binary};

/// Nodes n1 to n4, groups, and names in a file; and the hardware addresses of n1 to n3.
fn files() -> Result<Files> {
    let files = Files::new()?;
    let path = "winboot/a";
    files.write_config(&[("n1", path), ("n2", path), ("n3", path), ("n4", "")])?;
    fs::write(files.path("groups"), "rack1: n[1-2]\nrack2: n3\n")?;
    fs::write(files.path("names"), "n2  # new\n")?;
    fs::write(
        files.path("macs"),
        "n1 52:54:00:00:00:01\nn2 52:54:00:00:00:02\nn3 52:54:00:00:00:03\n",
    )?;
    Ok(files)
}

/// Runs the command in the folder of the files.
fn run(files: &Files, args: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    command.args(args).args(["--config", "proxydhcp.cfg"]);
    command.args(["--groups", "groups", "--settings", "proxydhcp.toml"]);
    Ok(command.current_dir(files.path("")).output()?.into())
}

/// Ranges, and the last digits of their nodes.
const RANGES: [(&str, &str); 6] = [
    ("n1,n3", "13"),
    ("n[1-3],-n2", "13"),
    ("@rack1,-^names", "1"),
    ("-@rack2,/n[1-3]", "12"),
    ("^names,N2,@rack2", "23"),
    ("n1+2", "123"),
];

/// What is wrong with ranges.
const FAULTS: [(&str, &str); 3] = [
    (
        "n1,n[3-1]",
        "noderange: the range runs backwards: the lower number comes first\n  n1,n[3-1]\n       ^\n",
    ),
    ("a,,b", "noderange: a name is missing here\n  a,,b\n    ^\n"),
    ("-n1", "the noderange -n1 has no nodes\n"),
];

#[test]
fn dhcp_conf_takes_noderanges() -> Result<()> {
    let files = files()?;
    let conf = |range: &str| run(&files, &["dhcp-conf", "isc", range, "--mac", "macs"]);
    for (range, digits) in RANGES {
        let conf = conf(range)?;
        assert_eq!((conf.code, conf.stderr.as_str()), (Some(0), ""), "{range}");
        let nodes = conf.stdout.lines();
        let nodes = nodes.filter(|line| line.starts_with("subclass"));
        let nodes: String = nodes.filter_map(|line| line.chars().last()).collect();
        assert_eq!(nodes, digits, "{range}");
    }
    for (range, fault) in FAULTS {
        let conf = conf(range)?;
        assert_eq!((conf.code, conf.stdout.as_str()), (Some(1), ""), "{range}");
        assert_eq!(conf.stderr, format!("proxydhcp: {fault}"));
    }
    let absent = conf("n[1-50]")?;
    assert!(
        absent.stderr.contains("no hardware address of n4, n5,")
            && absent.stderr.contains("n23 and 27 more; add lines"),
        "{}",
        absent.stderr
    );
    // Without the config file, only regular expressions lack names to match.
    fs::remove_file(files.path("proxydhcp.cfg"))?;
    assert_eq!(conf("n1")?.code, Some(0));
    assert!(conf("/n.*")?.stderr.contains("has no nodes"));
    Ok(())
}

#[test]
fn winpe_activate_takes_noderanges() -> Result<()> {
    let files = files()?;
    let root = files.path("tftp").display().to_string();
    fs::create_dir_all(files.path("tftp/winboot/a/Boot"))?;
    let bcd = files.path("tftp/winboot/a/Boot/BCD");
    let written = Command::new(binary()?)
        .args([
            "winpe",
            "bcd",
            "write",
            "--firmware=bios",
            "--image=winboot/a/Boot/x.wim",
        ])
        .arg(bcd)
        .status()?;
    assert!(written.success());
    fs::write(files.path("tftp/bootmgr.exe"), "MZ")?;
    let activate = |range: &str, more: &[&str]| {
        let args = ["winpe", "activate", "a", range, "--tftp-root", &root];
        run(&files, &[&args, more].concat())
    };
    for (range, _) in RANGES {
        let activated = activate(range, &["--dry-run"])?;
        assert_eq!(activated.code, Some(0), "{range}: {}", activated.stderr);
        let copies = activated.stdout.lines().count();
        assert_eq!(copies, 1, "{range}: {}", activated.stdout);
    }
    for (range, fault) in FAULTS {
        let activated = activate(range, &[])?;
        assert_eq!(activated.code, Some(1), "{range}");
        assert_eq!(activated.stderr, format!("proxydhcp: {fault}"));
    }
    // One of them boots another WinPE.
    let activated = activate("/n.*", &[])?;
    assert!(
        activated.stderr.contains("n4 boots the default WinPE"),
        "{}",
        activated.stderr
    );
    assert!(!files.path("tftp/Boot").exists());

    // The loaders of the settings decide how long a path may be.
    let long = "x".repeat(120);
    files.write_settings(&format!("[loaders]\n7 = \"{long}\"\n"))?;
    let activated = activate("n1", &[])?;
    assert!(
        activated.stderr.contains("and a reply holds 127"),
        "{}",
        activated.stderr
    );
    files.write_settings("")?;
    assert_eq!(activate("@rack1", &[])?.code, Some(0));
    assert!(files.path("tftp/Boot/BCD").exists());
    Ok(())
}
