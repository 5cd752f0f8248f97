//! The program's flags in xCAT's place, and the process that comes of them.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::binary;
use proxydhcp_lab::site::{NODE_A, STRANGER};
use proxydhcp_lab::{Expected, RequestFrame, check_reply};

use crate::node::{Node, insist, wait_until};

/// A property of the one process, as `ps` prints it.
fn property(node: &Node, name: &str) -> Result<String> {
    let pid = node.pid()?.to_string();
    let text = node.succeed("ps", &["-p", &pid, "-o", &format!("{name}=")])?;
    Ok(text.trim().to_owned())
}

#[test]
fn flags_come_alone_or_bundled_and_unknown_ones_are_ignored() -> Result<()> {
    for flags in [
        &["-d"][..],
        &["-dV"],
        &["-Vd"],
        &["-V", "-d"],
        &["-x", "--debug", "-d", "file"],
        &["-dx", "--unknown=ignore"],
    ] {
        let node = Node::with(&[("a", "winboot/a/")])?;
        node.start(flags)?;
        node.pid().with_context(|| format!("{flags:?}"))?;
        let mut tap = node.lab.tap()?;
        for (client, winpe) in [(NODE_A, "winboot/a/"), (STRANGER, "")] {
            let request = RequestFrame::edk2(client, UEFI_X64);
            let reply = insist(&mut tap, &request)?;
            check_reply(&request.bytes(), &reply, &Expected::new(winpe, UEFI_X64))?;
        }
    }
    Ok(())
}

#[test]
fn it_is_found_by_its_name_however_it_was_started() -> Result<()> {
    let by_another_name = "my $program = shift; exec { $program } '/opt/proxydhcp-xcat', '-d'";
    let node = Node::with(&[("a", "")])?;
    let binary = binary()?.display().to_string();
    let copy = node.path("opt/copy/proxydhcp-xcat");
    fs::create_dir(node.path("opt/copy"))?;
    fs::copy(&binary, &copy)?;
    let (program, copy) = (
        node.program.display().to_string(),
        copy.display().to_string(),
    );
    for command in [
        &[&program, "-d"][..],
        &[&copy, "-d"],
        &["perl", "-e", by_another_name, &binary],
    ] {
        node.succeed(command[0], &command[1..])?;
        assert_eq!(property(&node, "comm")?, "proxydhcp-xcat", "{command:?}");
        // Its threads have names of their own.
        let pid = node.pid()?.to_string();
        let threads = node.succeed("ps", &["-L", "-p", &pid, "-o", "comm="])?;
        let of_that_name = threads.lines().filter(|line| *line == "proxydhcp-xcat");
        assert_eq!(of_that_name.count(), 1, "{threads}");
        assert!(threads.lines().count() > 1, "{threads}");
        node.kill(2)?;
        wait_until("the end", || Ok(node.processes()?.is_empty()))?;
    }
    Ok(())
}

#[test]
fn in_the_background_it_holds_nothing_of_who_started_it() -> Result<()> {
    let node = Node::with(&[("a", "")])?;
    node.start(&["-d"])?;
    let pid = node.pid()?.to_string();
    assert_eq!(property(&node, "sid")?, pid, "no session of its own");
    assert_eq!(property(&node, "tty")?, "?");
    let links = |name: &str| node.succeed("readlink", &[&format!("/proc/{pid}/{name}")]);
    assert_eq!(links("cwd")?, "/\n");
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(links(stream)?, "/dev/null\n", "{stream}");
    }
    Ok(())
}

#[test]
fn without_d_it_stays_in_the_foreground() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    for (flags, log) in [
        (&[][..], ""),
        (&["-V"], "The BCD path for node a is winboot/a/Boot/BCD"),
    ] {
        let mut command = node.command(&node.program, flags);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let daemon = node.lab.server.spawn(command)?;
        wait_until("the daemon", || {
            Ok(node.pid_file().exists() && node.status().is_ok())
        })?;
        node.pid()?;
        node.kill(15)?;
        let output = daemon.wait_with_output()?;
        ensure!(output.status.success(), "{output:?}");
        let stderr = String::from_utf8(output.stderr)?;
        ensure!(stderr.contains(log), "{stderr}");
        ensure!(stderr.is_empty() == log.is_empty(), "{stderr}");
        ensure!(!node.pid_file().exists());
    }
    Ok(())
}

#[test]
fn both_of_xcats_reload_signal_and_that_of_log_rotation_reload() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    node.start(&["-d"])?;
    let pid = node.pid()?;
    let mut tap = node.lab.tap()?;
    for (generation, (signal, winpe)) in (2..).zip([(10, "winboot/b/"), (1, "winboot/c/")]) {
        let records = proxydhcp_lab::config::cfg_bytes([("a", winpe)])?;
        fs::write(node.config(), records)?;
        node.kill(signal)?;
        node.await_generation(generation)?;
        let request = RequestFrame::ipxe(NODE_A, BIOS);
        let reply = tap.ask(&request)?;
        check_reply(&request.bytes(), &reply, &Expected::new(winpe, BIOS))?;
    }
    assert_eq!(node.pid()?, pid);
    Ok(())
}
