//! `proxydhcp winpe rm` removes a WinPE that no node boots, and no other.

use std::fs;
use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{Ended, binary};

use crate::bcd_write;

fn rm(files: &Files, name: &str) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    command.args(["winpe", "rm", name, "--tftp-root"]);
    command.arg(files.path("tftp"));
    for (option, file) in [
        ("--config", "proxydhcp.cfg"),
        ("--control", "control.sock"),
        ("--settings", "proxydhcp.toml"),
    ] {
        command.arg(option).arg(files.path(file));
    }
    Ok(command.output()?.into())
}

#[test]
fn a_winpe_is_removed_once_neither_file_nor_daemon_has_it() -> Result<()> {
    let files = Files::usual()?;
    for name in ["a", "b", "c"] {
        fs::create_dir_all(files.path(&format!("tftp/winboot/{name}/Boot")))?;
        fs::write(files.path(&format!("tftp/winboot/{name}/Boot/x")), "")?;
    }
    let root = files.path("tftp").display().to_string();
    let site = Site::start(Datapath::Generic, files, &["--tftp-root", &root])?;
    let files = &site.files;
    let refused = |name: &str, part: &str| -> Result<()> {
        let ended = rm(files, name)?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
        Ok(())
    };
    refused("a", "nothing was removed: it is the WinPE of a in /")?;
    refused("winboot/b", "it is the WinPE of b in /")?;
    refused("nowhere", "there is no folder /")?;
    refused("Boot", "the default WinPE")?;
    // The file no longer names it; the daemon, which has not read it yet, still serves it.
    files.write_config(&[("a", "winboot/b"), ("b", "winboot/b"), ("default", "")])?;
    refused("a", "it is the WinPE of a by the daemon's tables")?;
    assert_eq!(site.command(&["reload"])?.code, Some(0));
    let ended = rm(files, "a")?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Another's image may be in it.
    let mut write = bcd_write("bios", "winboot/c/Boot/x.wim")?;
    let written = write.arg(files.path("tftp/winboot/b/Boot/BCD")).status()?;
    assert!(written.success());
    refused("c", "the BCD of b names files in it")?;
    fs::remove_file(files.path("tftp/winboot/b/Boot/BCD"))?;
    assert_eq!(rm(files, "c")?.code, Some(0));
    let left = fs::read_dir(files.path("tftp/winboot"))?;
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["b"]);
    Ok(())
}
