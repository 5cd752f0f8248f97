//! A start: what it waits for, what it does without, and how it fails.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::NODE_A;
use proxydhcp_lab::{Expected, RequestFrame, check_reply};

use crate::node::{Node, wait_until};

/// How long it tries to take the port.
const TRIES: Duration = Duration::from_secs(5);

#[test]
fn it_waits_for_the_port_and_then_gives_up() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    let take = || Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4011))?);
    let other = node.lab.server.run(take)?;
    let started = Instant::now();
    let output = node.run(&node.program, &["-d"])?;
    let waited = started.elapsed();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8(output.stderr)?;
    assert!(
        stderr.contains("UDP port 4011 is taken") && stderr.contains("ss -lunp"),
        "{stderr}"
    );
    assert!(waited >= TRIES, "it gave up after {waited:?}");
    assert!(!node.pid_file().exists() && node.processes()?.is_empty());

    // Freed in time, it is taken.
    thread::scope(|scope| {
        let start = scope.spawn(|| node.start(&["-d"]));
        thread::sleep(Duration::from_secs(1));
        drop(other);
        match start.join() {
            Ok(started) => started,
            Err(_) => anyhow::bail!("the start failed"),
        }
    })?;
    node.pid()?;
    Ok(())
}

/// Starts it with its stderr in a file, and waits for the command alone.
fn start_alone(node: &Node) -> Result<(ExitStatus, String)> {
    let path = node.path("stderr");
    let mut command = node.command(&node.program, &["-d"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&path)?);
    let mut started = node.lab.server.spawn(command)?;
    let begun = Instant::now();
    loop {
        if let Some(status) = started.try_wait()? {
            return Ok((status, fs::read_to_string(path)?));
        }
        if begun.elapsed() > Duration::from_mins(1) {
            started.kill()?;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn one_that_fails_has_told_why_when_its_command_returns() -> Result<()> {
    let node = Node::with(&[("a", "")])?;
    // It is no socket, so that each start fails at once.
    fs::create_dir_all(node.path("run/proxydhcp/control.sock"))?;
    for turn in 0..20 {
        let (status, stderr) = start_alone(&node)?;
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert!(
            stderr.starts_with("proxydhcp-xcat: ")
                && stderr.ends_with("use another with --control\n"),
            "{turn}: {stderr:?}"
        );
    }
    Ok(())
}

/// Files on a server that does not answer make the daemon hang; its command returns all the same.
#[test]
fn one_that_hangs_lets_its_command_return() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    let take = || Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4011))?);
    let other = node.lab.server.run(take)?;
    thread::scope(|scope| {
        let start = scope.spawn(|| start_alone(&node));
        let waiting = waiting_daemon(&node)?;
        node.succeed("kill", &["-STOP", &waiting])?;
        drop(other);
        let Ok(started) = start.join() else {
            anyhow::bail!("the start failed")
        };
        let (status, stderr) = started?;
        assert_eq!(status.code(), Some(0), "{stderr}");
        let told = "proxydhcp-xcat: the daemon is still starting after 30s; ";
        assert!(stderr.starts_with(told), "{stderr}");
        node.succeed("kill", &["-CONT", &waiting])?;
        wait_until("the daemon", || Ok(node.status().is_ok()))?;
        node.pid().map(drop)
    })
}

/// Waits for the process that goes into the background. It has a session of its own, unlike the
/// one that was started.
fn waiting_daemon(node: &Node) -> Result<String> {
    let session = || -> Result<Option<String>> {
        let text = node.run("ps", &["-C", "proxydhcp-xcat", "-o", "pid=,sid="])?;
        let text = String::from_utf8(text.stdout)?;
        Ok(text.lines().find_map(|line| {
            let (pid, sid) = line.trim().split_once(char::is_whitespace)?;
            (pid == sid.trim()).then(|| pid.to_owned())
        }))
    };
    let mut waiting = None;
    wait_until("the daemon", || {
        waiting = session()?;
        Ok(waiting.is_some())
    })?;
    waiting.context("no daemon")
}

#[test]
fn a_second_one_leaves_the_first_alone() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    node.start(&["-d"])?;
    let first = node.pid()?;
    let output = node.run(&node.program, &["-d"])?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // Its pid file, too.
    assert_eq!(node.pid()?, first);
    assert_eq!(node.generation()?, 1);
    Ok(())
}

#[test]
fn one_that_waits_can_be_stopped() -> Result<()> {
    let node = Node::with(&[("a", "")])?;
    let take = || Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4011))?);
    let _other = node.lab.server.run(take)?;
    let started = Instant::now();
    node.spawn(&node.program, &["-d"])?;
    let waiting = waiting_daemon(&node)?;
    // It may not have got as far as to wait for signals; they end it all the same.
    node.succeed("kill", &["-INT", &waiting])?;
    wait_until("the end", || Ok(node.processes()?.is_empty()))?;
    ensure!(started.elapsed() < TRIES, "it waited to the end");
    Ok(())
}

#[test]
fn without_a_config_all_get_the_default_until_it_is_written() -> Result<()> {
    let node = Node::new()?;
    // Nor is there the folder.
    fs::remove_dir(node.path("var-lib/xcat"))?;
    node.start(&["-d"])?;
    let status = node.status()?;
    assert!(status["rejected"].is_null(), "{status}");
    let warning = status["warnings"][0].as_str().unwrap_or_default();
    assert!(
        warning.contains("/var/lib/xcat/proxydhcp.cfg: no such file yet"),
        "{status}"
    );
    let mut tap = node.lab.tap()?;
    let mut told = |winpe: &str| {
        let request = RequestFrame::edk2(NODE_A, UEFI_X64);
        let reply = tap.ask(&request)?;
        check_reply(&request.bytes(), &reply, &Expected::new(winpe, UEFI_X64))
    };
    // Its first request is not answered: the name of its address is looked up.
    wait_until("the default", || Ok(told("").is_ok()))?;

    fs::create_dir(node.path("var-lib/xcat"))?;
    node.nodeset(&[("a", "winboot/a/")])?;
    node.await_generation(2)?;
    told("winboot/a/")?;
    assert_eq!(node.status()?["warnings"], serde_json::json!([]));
    Ok(())
}

#[test]
fn what_was_left_behind_is_in_nobodys_way() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    // Of a process that is gone, of one that is another, and of none.
    for stale in ["999999", "1", "", "garbage"] {
        fs::create_dir_all(node.path("run/xcat"))?;
        fs::write(node.pid_file(), stale)?;
        fs::write(node.pid_file().with_extension("pid.new"), stale)?;
        node.start(&["-d"])?;
        node.pid()?;
        node.kill(9)?;
        wait_until("the end", || Ok(node.processes()?.is_empty()))?;
    }
    Ok(())
}

/// Those of `proxydhcp serve`, on all threads, that of the log among them.
#[test]
fn it_keeps_few_rights() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    node.start(&["-dV"])?;
    let script = "cd /proc/$(cat /var/run/xcat/proxydhcp-xcat.pid)/task; \
                  for thread in *; do echo $(cat $thread/comm) \
                  $(sed -n 's/^Cap\\(Eff\\|Bnd\\):.//p; s/^NoNewPrivs:.//p' $thread/status); done";
    let text = node.succeed("sh", &["-c", script])?;
    let kept = "000000c000003000 000000c000003000 1";
    let none = "0000000000000000 000000c000003000 1";
    for line in text.lines() {
        let (name, rights) = line.split_once(' ').unwrap_or_default();
        let expected = if ["raw-px0", "syslog", "watch", "outlive"].contains(&name) {
            none
        } else {
            kept
        };
        assert_eq!(rights, expected, "{text}");
    }
    for name in ["proxydhcp-xcat ", "syslog ", "raw-px0 ", "control "] {
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "{name}: {text}"
        );
    }
    // The pid file is still its own to remove.
    node.kill(2)?;
    wait_until("the end", || Ok(!node.pid_file().exists()))
}
