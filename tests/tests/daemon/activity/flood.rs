//! Under a flood of hostile packets, each node's boot has its line, and nothing grows without bound.
#![allow(clippy::indexing_slicing, reason = "what JSON lacks is null")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_clients::{Client, Firmware, storm};
use proxydhcp_lab::flood::Flood;
use proxydhcp_lab::hostile::Hostile;
use proxydhcp_lab::site::{Datapath, Site};
use proxydhcp_lab::{CLIENT_INTERFACE, alone, binary};
use serde_json::Value;

use crate::cluster::Cluster;

const NODES: u16 = 1000;
/// No node has it: garbage may not be taken for a node's.
const FORGED: Ipv4Addr = Ipv4Addr::new(10, 77, 200, 1);
const FRAMES: u16 = 384;
const WINPE: &str = "winboot/new/";
/// So many hostile packets come before the storm, and again behind it.
const AROUND: u64 = 250_000;
const PATIENCE: Duration = Duration::from_mins(1);
/// What the memory of the daemon may grow by, in KiB.
const GROWTH: u64 = 64 << 10;

/// The resident memory of a process, in KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = BufReader::new(File::open(format!("/proc/{pid}/status"))?);
    for line in status.lines() {
        if let Some(rest) = line?.strip_prefix("VmRSS:") {
            return Ok(rest.trim().trim_end_matches(" kB").parse()?);
        }
    }
    anyhow::bail!("no VmRSS")
}

/// The counters, once they account for so many packets. What the XDP program hands up comes to the daemon,
/// where it is received once more, or lost.
fn settled(site: &Site, sent: u64) -> Result<Value> {
    let started = Instant::now();
    loop {
        let counters = site.counters()?;
        let of = |name: &str| counters[name].as_u64().unwrap_or_default();
        if of("received") + of("lost") == sent + of("handed_up") {
            return Ok(counters);
        }
        ensure!(started.elapsed() < PATIENCE, "{sent} were sent: {counters}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn no_nodes_line_is_lost_under_a_flood() -> Result<()> {
    let _alone = alone();
    for datapath in [Datapath::Native, Datapath::Raw] {
        let site = Cluster::new(NODES).site(datapath, WINPE)?;
        let before = resident(site.daemon.pid())?;
        let mut command = Command::new(binary()?);
        command.args(["events", "--follow", "--all", "--json", "--control"]);
        command
            .arg(site.files.path("control.sock"))
            .stdout(Stdio::piped());
        let mut follower = command.spawn()?;
        let lines = BufReader::new(follower.stdout.take().context("no stdout")?).lines();
        let flood = Flood::new(&site.lab.client, Hostile::mixed(FORGED, FRAMES), 2)?;
        let clients: Vec<_> = (0..NODES)
            .map(|n| {
                let address = u32::from(Ipv4Addr::new(10, 77, 4, 0)) + u32::from(n);
                Client::new(Firmware::Uefi, address.into(), WINPE)
            })
            .collect();
        let started = Instant::now();
        let report = flood.during(|| {
            flood.await_more(AROUND, PATIENCE)?;
            let go_on = &mut |_| ControlFlow::Continue(());
            let report = storm(&site.lab.client, CLIENT_INTERFACE, &clients, go_on)?;
            flood.await_more(AROUND, PATIENCE)?;
            Ok(report)
        })?;
        let took = started.elapsed();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let rate = flood.sent() as f64 / took.as_secs_f64();
        println!(
            "{datapath:?}: {} hostile packets in {took:?}: {rate:.0} a second",
            flood.sent(),
        );
        ensure!(report.summary(None).never == 0, "{}", site.describe());
        // What was sent and what was seen differ by what is counted as lost.
        let sent = flood.sent() + report.asked as u64;
        let counters = settled(&site, sent)?;
        println!("{counters}");
        let mut begun = BTreeSet::new();
        let mut all = 0;
        for line in lines {
            let event: Value = serde_json::from_str(&line?)?;
            all += 1;
            ensure!(event["event"] != "lost", "{event}");
            if event["event"] == "begins" {
                begun.insert(event["node"].to_string());
            }
            if begun.len() == usize::from(NODES) {
                break;
            }
            ensure!(
                started.elapsed() < PATIENCE * 3,
                "{} boots only",
                begun.len()
            );
        }
        follower.kill()?;
        follower.wait()?;
        // Never a line for each packet.
        ensure!(all < 10 * usize::from(NODES), "{all} lines");
        let after = resident(site.daemon.pid())?;
        println!("{all} lines; the daemon has {before} KiB before and {after} KiB after");
        ensure!(after < before + GROWTH, "{before} KiB became {after} KiB");
        let strangers = site.command(&["nodes", "--strangers", "--json"])?;
        let strangers: Vec<Value> = serde_json::from_str(&strangers.stdout)?;
        ensure!(
            !strangers.is_empty() && strangers.len() <= 65_536,
            "{}",
            strangers.len()
        );
    }
    Ok(())
}
