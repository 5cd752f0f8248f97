//! An address that two service nodes share: keepalived gives it to one, and to the other when that one
//! fails.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{CLIENT_ADDRESS, Daemon, RequestFrame, binary};
use serde_json::Value;

use crate::fleet::PATIENCE;
use crate::segment::Segment;

const SHARED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

#[test]
fn clients_that_ask_a_shared_address_are_answered_when_a_service_node_fails() -> Result<()> {
    ensure_installed("keepalived", "keepalived")?;
    let mut segment = Segment::new(1)?;
    // The client is a host whose kernel asks who has the address.
    let files = Files::usual()?;
    fs::write(
        files.path("proxydhcp.cfg.hosts"),
        format!("{CLIENT_ADDRESS} a\n"),
    )?;
    let config = files.path("proxydhcp.cfg").display().to_string();
    segment.run(&["fleet", "push", &config])?;
    let mut keepers = Vec::new();
    for place in 0..2 {
        segment.serve(&[])?;
        keepers.push(keepalived(&segment, place)?);
    }
    let socket = segment
        .clients
        .run(|| Ok(UdpSocket::bind((CLIENT_ADDRESS, 68))?))?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    let request = RequestFrame::edk2(CLIENT_ADDRESS, UEFI_X64).bytes();
    let request = Datagram::parse(&request)?.payload.to_vec();
    // Asks as firmware does, until there is an answer, and returns who has given it.
    let answered_by = |segment: &Segment| -> Result<usize> {
        let asked = Instant::now();
        let before = [answers(segment, 0), answers(segment, 1)];
        let mut reply = [0; 1500];
        loop {
            ensure!(asked.elapsed() < PATIENCE, "nobody answers at {SHARED}");
            // Until some host has the address, the kernel knows no way to it.
            if socket.send_to(&request, (SHARED, 4011)).is_err() {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
            let Ok((length, from)) = socket.recv_from(&mut reply) else {
                continue;
            };
            let reply = reply.get(..length).context("it is longer")?;
            ensure!(from.ip() == SHARED, "{from}");
            // The TFTP server is at the shared address, too: siaddr.
            ensure!(reply.get(20..24) == Some(&SHARED.octets()), "{reply:02x?}");
            let file = String::from_utf8_lossy(reply.get(108..236).unwrap_or_default());
            ensure!(file.starts_with("winboot/a/Boot/bootmgfw.efi"), "{file}");
            let has_more = |place: &usize| {
                let now = answers(segment, *place);
                now.is_some() && before.get(*place).is_some_and(|before| now > *before)
            };
            return (0..2).find(has_more).context("neither has answered");
        }
    };
    let first = answered_by(&segment)?;
    let other = 1 - first;
    // The daemon of the one that has the address dies, and the host lives on.
    segment.crash(first)?;
    ensure!(answered_by(&segment)? == other);
    // It is back, and the other host is gone from the wire.
    segment.serve_again(first, &[])?;
    segment.plug(u8::try_from(other + 1)?, false)?;
    ensure!(answered_by(&segment)? == first);
    for keeper in &keepers {
        println!("{}", keeper.log());
    }
    Ok(())
}

/// The replies that a service node has given, if it runs.
fn answers(segment: &Segment, place: usize) -> Option<u64> {
    let status = segment.status(place, &["--json"]).ok()?;
    let status: Value = serde_json::from_str(&status.stdout).ok()?;
    let answered = status.pointer("/interfaces/0/counters/answered");
    answered.and_then(Value::as_u64)
}

/// Starts keepalived on a service node, as the manual has it.
fn keepalived(segment: &Segment, place: usize) -> Result<Daemon> {
    let node = segment.node(place)?;
    let text = |name: &str| node.files.path(name).display().to_string();
    let (program, control) = (binary()?.display().to_string(), text("control.sock"));
    let script = text("answers");
    // 1: it does not run. One that is not up to date answers all the same.
    let lines =
        format!("#!/bin/sh\n{program} status --control {control} >/dev/null\n[ $? -ne 1 ]\n");
    fs::write(&script, lines)?;
    fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    let config = format!(
        "global_defs {{
    script_user root
}}
vrrp_script proxydhcp {{
    script \"{script}\"
    interval 1
    timeout 5
    fall 2
    rise 1
}}
vrrp_instance proxydhcp {{
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 77
    priority 100
    advert_int 1
    virtual_ipaddress {{
        {SHARED}/16
    }}
    track_script {{
        proxydhcp
    }}
}}
"
    );
    fs::write(text("keepalived.conf"), config)?;
    let mut command = Command::new("/usr/sbin/keepalived");
    command.args(["--dont-fork", "--log-console", "--log-detail"]);
    for (option, file) in [
        ("--use-file", "keepalived.conf"),
        ("--pid", "keepalived.pid"),
        ("--vrrp_pid", "vrrp.pid"),
        ("--checkers_pid", "checkers.pid"),
    ] {
        command.arg(option).arg(text(file));
    }
    Daemon::spawn(&node.namespace, command)
}
