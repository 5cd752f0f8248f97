//! Hostile packets at full rate leave known nodes answered.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_clients::{Client, Firmware, StormReport, storm};
use proxydhcp_lab::flood::Flood;
use proxydhcp_lab::hostile::Hostile;
use proxydhcp_lab::site::{Datapath, Site};
use proxydhcp_lab::{CLIENT_INTERFACE, alone};
use serde_json::Value;

use crate::cluster::Cluster;

const NODES: u16 = 1000;
/// How many of the nodes that are powered on may need a second try.
const LATER: usize = 1;
/// The node whose address is forged.
const FORGED: Ipv4Addr = Ipv4Addr::new(10, 77, 4, 0);
/// How many different hostile frames there are.
const FRAMES: u16 = 384;
const WINPE: &str = "winboot/new/";
/// How many hostile packets go out before the nodes are powered on: the flood is well under way.
const BEFORE: u64 = 20_000;
/// How many go out at least until the last node is answered: five for each node.
const LEAST: u64 = 5_000;
/// Nothing must hang.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_flood_leaves_known_nodes_answered() -> Result<()> {
    let _alone = alone();
    for datapath in Datapath::ALL {
        under_flood(datapath).with_context(|| format!("{datapath:?}"))?;
    }
    Ok(())
}

fn under_flood(datapath: Datapath) -> Result<()> {
    let site = Cluster::new(NODES).site(datapath, WINPE)?;
    let flood = Flood::new(&site.lab.client, Hostile::mixed(FORGED, FRAMES), 1)?;
    let clients = clients();
    let started = Instant::now();
    let (report, hostile) = flood.during(|| {
        flood.await_more(BEFORE, PATIENCE)?;
        let before = flood.sent();
        let go_on = &mut |_| ControlFlow::Continue(());
        let report = storm(&site.lab.client, CLIENT_INTERFACE, &clients, go_on)?;
        Ok((report, flood.sent() - before))
    })?;
    let took = started.elapsed();
    println!(
        "{datapath:?}: {hostile} hostile packets during the storm; in {took:?} {} in all, and {} \
         more that did not fit the wire; {}",
        flood.sent(),
        flood.unsent(),
        site.counters()?
    );
    check(&report, &site)?;
    ensure!(hostile >= LEAST, "{hostile} hostile packets are no flood");
    // They did not only go out, but reached the daemon.
    let counters = site.counters()?;
    let received = counters.get("received").and_then(Value::as_u64);
    ensure!(received >= Some(BEFORE), "{}", site.describe());
    Ok(())
}

/// All nodes, the one whose address is forged as well.
fn clients() -> Vec<Client> {
    (0..NODES)
        .map(|n| {
            let address = u32::from(FORGED) + u32::from(n);
            let firmware = if n.is_multiple_of(2) {
                Firmware::Bios
            } else {
                Firmware::Uefi
            };
            Client::new(firmware, address.into(), WINPE)
        })
        .collect()
}

/// The nodes have the right answers, and nearly all of them at the first try.
fn check(report: &StormReport, site: &Site) -> Result<()> {
    let summary = report.summary(None);
    println!(
        "{} of {} nodes answered at the first try, {} later",
        summary.first_try, summary.clients, summary.retried
    );
    if let Some(fault) = report.faults().next() {
        bail!("{fault}");
    }
    ensure!(
        summary.first_try + LATER >= summary.clients
            && summary.first_try + summary.retried == summary.clients,
        "{summary:?}\n{}",
        site.describe()
    );
    Ok(())
}
