//! Writers at the same time, and writers that cannot write.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use proxydhcp::nodes::cfg;
use proxydhcp::winpe::loaders::Loaders;
use proxydhcp::winpe::path::Rules;
use proxydhcp_lab::{binary, config, copy_program};
use tempfile::TempDir;

fn import(config: &Path) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command
        .args(["cfg", "import", "--format", "csv", "-", "--control", "none"])
        .arg("--config")
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

fn give(mut command: Command, nodes: &str) -> Result<Output> {
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(nodes.as_bytes())?;
    drop(stdin);
    Ok(child.wait_with_output()?)
}

#[test]
fn twenty_writers_together_lose_no_update() -> Result<()> {
    const WRITERS: usize = 20;
    const EACH: usize = 50;
    let folder = TempDir::new()?;
    let config = folder.path().join("proxydhcp.cfg");
    thread::scope(|scope| -> Result<()> {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let config = &config;
                scope.spawn(move || -> Result<()> {
                    for number in 0..EACH {
                        let node = format!("w{writer}-{number},winboot/{writer}\n");
                        let output = give(import(config)?, &node)?;
                        ensure!(output.status.success(), "{output:?}");
                    }
                    Ok(())
                })
            })
            .collect();
        for writer in writers {
            writer
                .join()
                .map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        Ok(())
    })?;
    let bytes = cfg::read(&config)?;
    let parsed = cfg::parse(
        &bytes,
        Rules {
            tftp_root: Path::new("/tftpboot"),
            loaders: &Loaders::default(),
        },
    );
    assert_eq!(bytes.len(), WRITERS * EACH * cfg::RECORD);
    assert_eq!(parsed.records.len(), WRITERS * EACH);
    for writer in 0..WRITERS {
        for number in 0..EACH {
            let name = format!("w{writer}-{number}");
            ensure!(parsed.position(name.as_bytes()).is_some(), "{name} is lost");
        }
    }
    Ok(())
}

/// Runs a shell script in a mount namespace of its own, with an empty disk of 64 KiB at `$DISK`.
fn on_a_small_disk(script: &str) -> Result<String> {
    let folder = TempDir::new()?;
    let old = config::cfg_bytes((0..200).map(|n| (format!("cn{n}"), "winboot/a")))?;
    fs::write(folder.path().join("old.cfg"), &old)?;
    let more: Vec<String> = (0..200).map(|n| format!("more{n},winboot/b")).collect();
    fs::write(folder.path().join("more.csv"), more.join("\n"))?;
    fs::create_dir(folder.path().join("disk"))?;
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs disk && cp old.cfg disk/proxydhcp.cfg && {script}\n\
         echo exit code $? && cmp old.cfg disk/proxydhcp.cfg && ls -A disk"
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .env("PROXYDHCP", binary()?)
        .current_dir(folder.path())
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let text = [output.stderr, output.stdout].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

const IMPORT: &str =
    "\"$PROXYDHCP\" cfg import more.csv --config disk/proxydhcp.cfg --control none";

#[test]
fn a_full_disk_costs_nothing_but_the_change() -> Result<()> {
    let told = on_a_small_disk(IMPORT)?;
    ensure!(
        told.contains("disk/proxydhcp.cfg: cannot be replaced; it is unchanged: No space left"),
        "{told}"
    );
    ensure!(
        told.ends_with("exit code 1\n.proxydhcp.cfg.lock\nproxydhcp.cfg\n"),
        "{told}"
    );
    Ok(())
}

#[test]
fn a_read_only_file_system_is_told() -> Result<()> {
    let told = on_a_small_disk(&format!("mount -o remount,ro disk && {IMPORT}"))?;
    ensure!(
        told.contains("disk/proxydhcp.cfg: cannot be written"),
        "{told}"
    );
    ensure!(told.contains("Read-only file system"), "{told}");
    ensure!(told.ends_with("exit code 1\nproxydhcp.cfg\n"), "{told}");
    Ok(())
}

#[test]
fn a_write_protected_file_is_not_replaced() -> Result<()> {
    const NOBODY: u32 = 65534;
    let folder = TempDir::new()?;
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777))?;
    // A copy of the program that this user can reach.
    let copy = folder.path().join("proxydhcp");
    copy_program(&binary()?, &copy)?;
    let config = folder.path().join("proxydhcp.cfg");
    let old = config::cfg_bytes([("cn1", "")])?;
    fs::write(&config, &old)?;
    fs::set_permissions(&config, PermissionsExt::from_mode(0o444))?;
    let mut command = Command::new(&copy);
    command
        .args(import(&config)?.get_args())
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let output = give(command, "cn2,a\n")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    ensure!(
        stderr.contains("is write-protected: Permission denied"),
        "{stderr}"
    );
    assert_eq!(fs::read(&config)?, old);
    ensure!(!folder.path().join(".proxydhcp.cfg.new").exists());
    Ok(())
}
