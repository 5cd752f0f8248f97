//! Names that the hosts file lacks go to the system resolver, which may be of no help: there is no
//! network to ask on, or a name server that never answers.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site};
use proxydhcp_lab::{Daemon, Lab, Namespace, RequestFrame, SERVER_INTERFACE, binary, link};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::alone::alone;
use crate::ended::Ended;

/// More than the resolver's time limit by far.
const PATIENCE: Duration = Duration::from_secs(20);
/// A stop that waited for the resolver would take longer.
const STOP_LIMIT: Duration = Duration::from_secs(1);

#[test]
fn names_that_nobody_knows_are_listed() -> Result<()> {
    let files = files(2)?;
    let mut site = Site::start(Datapath::Native, files, &[])?;
    assert!(site.daemon.ready_line().ends_with("; 1 nodes"));
    site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    assert_eq!(
        site.status()?["unresolved"],
        json!(["n0.invalid", "n1.invalid"])
    );
    for command in ["reload", "status"] {
        let ended = Ended::command(&site, &[command])?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for part in [
            "no address for",
            "n0.invalid, n1.invalid",
            "hosts file or the DNS",
        ] {
            assert!(ended.stdout.contains(part), "{part}: {ended:?}");
        }
    }
    site.daemon
        .wait_for("n0.invalid, n1.invalid", Duration::from_secs(5))?;

    site.files.write_hosts(&[
        ("10.77.1.1", "a"),
        ("10.77.1.2", "n0.invalid"),
        ("10.77.1.3", "n1 n1.invalid"),
    ])?;
    let mended = Ended::command(&site, &["reload"])?;
    assert!(
        mended.stdout.contains("added: n0.invalid, n1.invalid\n"),
        "{mended:?}"
    );
    assert_eq!(site.status()?["unresolved"], json!([]));
    Ok(())
}

#[test]
fn a_dead_name_server_holds_up_neither_start_nor_service_nor_stop() -> Result<()> {
    let _alone = alone();
    let lab = Lab::new()?;
    let queries = dead_name_server(&lab.server)?;
    let files = files(300)?;
    let started = Instant::now();
    let daemon = Daemon::start(&lab.server, &binary()?, &arguments(&files))?;
    println!("with a dead name server: ready in {:?}", started.elapsed());
    ensure!(asked(&queries), "the daemon did not ask");
    let tap = lab.tap()?;
    let mut site = Site {
        lab,
        tap,
        daemon,
        files,
    };
    site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    let status = site.status()?;
    assert_eq!(status["unresolved"].as_array().map(Vec::len), Some(300));
    let warning = status["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("had no answer for 300 names within 3s; check the DNS"));

    let (reload, stopped) = thread::scope(|scope| {
        let started = Instant::now();
        let reload = scope.spawn(|| Ended::command(&site, &["reload"]));
        while !asked(&queries) {
            ensure!(started.elapsed() < PATIENCE, "the reload did not ask");
        }
        // The reload is under way, and everything else goes on.
        let status = site.status()?;
        ensure!(
            status["generation"] == 1 && !reload.is_finished(),
            "{status}"
        );
        site.daemon.signal(Signal::TERM)?;
        let stopped = Instant::now();
        Ok((reload.join(), stopped))
    })?;
    let status = site.daemon.wait(PATIENCE)?;
    let took = stopped.elapsed();
    println!("while a reload asks a dead name server: stopped in {took:?}");
    assert!(
        status.success() && took < STOP_LIMIT,
        "{status} after {took:?}"
    );
    let Ok(reload) = reload else {
        unreachable!("the command does not panic")
    };
    let reload = reload?;
    assert_eq!(reload.code, Some(1), "{reload:?}");
    assert!(reload.stderr.contains("ended"), "{reload:?}");
    Ok(())
}

#[test]
fn a_start_that_waits_for_a_dead_name_server_can_be_stopped() -> Result<()> {
    let _alone = alone();
    for signal in [Signal::TERM, Signal::INT] {
        let lab = Lab::new()?;
        let queries = dead_name_server(&lab.server)?;
        let files = files(1)?;
        let mut command = Command::new(binary()?);
        command.args(arguments(&files)).stdin(Stdio::null());
        let mut child = lab.server.spawn(command)?;
        let started = Instant::now();
        while !asked(&queries) {
            ensure!(started.elapsed() < PATIENCE, "the daemon did not ask");
        }
        kill_process(Pid::from_child(&child), signal)?;
        let stopped = Instant::now();
        let status = child.wait()?;
        let took = stopped.elapsed();
        assert!(
            status.success() && took < STOP_LIMIT,
            "{status} after {took:?}"
        );
    }
    Ok(())
}

/// One node that the hosts file knows, and as many as are told that nobody knows.
fn files(unknown: usize) -> Result<Files> {
    let files = Files::new()?;
    let names: Vec<String> = (0..unknown).map(|n| format!("n{n}.invalid")).collect();
    let mut records = vec![("a", "winboot/a")];
    records.extend(names.iter().map(|name| (name.as_str(), "")));
    files.write_config(&records)?;
    files.write_hosts(&[("10.77.1.1", "a")])?;
    Ok(files)
}

fn arguments(files: &Files) -> Vec<String> {
    let mut args: Vec<String> = ["serve", "-i", SERVER_INTERFACE].map(str::to_owned).into();
    args.extend(files.args());
    args
}

/// A socket in the namespace that takes what is sent to this host's name servers and never
/// answers.
fn dead_name_server(namespace: &Namespace) -> Result<Vec<UdpSocket>> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut servers: Vec<Ipv4Addr> = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok())
        .collect();
    if servers.is_empty() {
        // As the resolver does.
        servers.push(Ipv4Addr::LOCALHOST);
    }
    servers
        .into_iter()
        .map(|address| {
            if !address.is_loopback() {
                link::add_address(namespace, "lo", (address, 32))?;
            }
            let socket = namespace.run(|| Ok(UdpSocket::bind((IpAddr::V4(address), 53))?));
            let socket = socket.context("cannot be a name server")?;
            socket.set_read_timeout(Some(Duration::from_millis(10)))?;
            Ok(socket)
        })
        .collect()
}

/// Whether anything has been asked since the last call.
fn asked(queries: &[UdpSocket]) -> bool {
    let mut any = false;
    for socket in queries {
        let mut query = [0; 512];
        while socket.recv(&mut query).is_ok() {
            any = true;
        }
    }
    any
}
