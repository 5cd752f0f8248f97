//! Requests that others send in the nodes' names keep no node from booting.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_clients::{Client, Firmware, storm};
use proxydhcp_lab::hostile::Forger;
use proxydhcp_lab::packet::{BATCH, FrameSender};
use proxydhcp_lab::site::{Datapath, Site};
use proxydhcp_lab::{CLIENT_INTERFACE, CLIENT_MAC, Namespace, alone};
use serde_json::Value;

use crate::cluster::Cluster;

const NODES: u16 = 100;
const WINPE: &str = "winboot/new/";
/// Requests per second in each node's name: three times the rate limit of a source, and in step with
/// EDK2's clock.
const RATE: u32 = 30;
/// The number of them that are sent at once in the beginning: more than a burst.
const AT_ONCE: u32 = 40;
/// The time between these and the storm, in which the forgers' buckets stay empty.
const BEFORE: Duration = Duration::from_millis(700);

/// The machines that the requests in a node's name come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machines {
    /// One for each node.
    One,
    /// Another for each request.
    Many,
}

#[test]
fn nodes_boot_while_strangers_ask_in_their_names() -> Result<()> {
    under_forgery(Forger::OnTheWire)
}

/// The nodes' own requests come from the router's MAC address too.
#[test]
fn nodes_boot_while_strangers_ask_in_their_names_through_the_router() -> Result<()> {
    under_forgery(Forger::ByRouter(CLIENT_MAC))
}

fn under_forgery(forger: Forger) -> Result<()> {
    let _alone = alone();
    for datapath in Datapath::ALL {
        let site = Cluster::new(NODES).site(datapath, WINPE)?;
        for machines in [Machines::One, Machines::Many] {
            besiege(&site, forger, machines)
                .with_context(|| format!("{datapath:?}, {machines:?}: {}", site.describe()))?;
        }
    }
    Ok(())
}

fn nodes() -> impl Iterator<Item = Ipv4Addr> {
    let first = u32::from(Ipv4Addr::new(10, 77, 4, 0));
    (first..).take(NODES.into()).map(Ipv4Addr::from)
}

fn besiege(site: &Site, forger: Forger, machines: Machines) -> Result<()> {
    let clients: Vec<Client> = nodes()
        .map(|address| {
            let mut client = Client::new(Firmware::Uefi, address, WINPE);
            if let Forger::ByRouter(router) = forger {
                client.request.source_mac = router;
            }
            client
        })
        .collect();
    let limited = || {
        let counters = site.counters()?;
        let limited = counters.get("limited").and_then(Value::as_u64);
        limited.context("no counter")
    };
    let before = limited()?;
    let over = AtomicBool::new(false);
    let rounds = AtomicU64::new(0);
    let started = Instant::now();
    let report = thread::scope(|scope| {
        let forging = scope.spawn(|| {
            let of_round = |round: u32| frames(forger, machines, round);
            forge(&site.lab.client, &of_round, &rounds, &over)
        });
        while rounds.load(Ordering::Relaxed) < u64::from(AT_ONCE) && !forging.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(BEFORE);
        let go_on = &mut |_| ControlFlow::Continue(());
        let report = storm(&site.lab.client, CLIENT_INTERFACE, &clients, go_on);
        over.store(true, Ordering::Relaxed);
        match forging.join() {
            Ok(forged) => forged.and(report),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    let took = started.elapsed();
    let (rounds, limited) = (rounds.into_inner(), limited()? - before);
    let summary = report.summary(None);
    println!(
        "{forger:?}, {machines:?}: {} of {} nodes answered at the first try, while each was \
         forged {rounds} times in {took:?}; {limited} were limited",
        summary.first_try, summary.clients,
    );
    // Otherwise nothing was tried.
    let due = u64::from(AT_ONCE) + took.as_secs() * u64::from(RATE);
    ensure!(rounds >= due, "forged {rounds} times, not {due}");
    ensure!(
        limited > 0 || machines == Machines::Many,
        "a forger was not limited"
    );
    if let Some(fault) = report.faults().next() {
        bail!("{fault}");
    }
    ensure!(summary.first_try == summary.clients, "{summary:?}");
    Ok(())
}

/// A request in the name of each node.
fn frames(forger: Forger, machines: Machines, round: u32) -> Vec<Vec<u8>> {
    let machine = |node: u16| match machines {
        Machines::One => node,
        // There are some hundred rounds at most.
        Machines::Many => node + NODES * u16::try_from(round % 600).unwrap_or_default(),
    };
    let requests = (0..NODES).zip(nodes());
    requests
        .map(|(node, address)| forger.request(address, machine(node)).bytes())
        .collect()
}

/// Sends round after round, each when it is due; a round that is late is still sent.
fn forge(
    namespace: &Namespace,
    frames: &dyn Fn(u32) -> Vec<Vec<u8>>,
    rounds: &AtomicU64,
    over: &AtomicBool,
) -> Result<()> {
    let sender = FrameSender::open(namespace, CLIENT_INTERFACE)?;
    let started = Instant::now();
    for round in 0_u32.. {
        let due = Duration::from_secs(round.saturating_sub(AT_ONCE).into()) / RATE;
        thread::sleep(due.saturating_sub(started.elapsed()));
        if over.load(Ordering::Relaxed) {
            return Ok(());
        }
        let frames = frames(round);
        for batch in frames.chunks(BATCH) {
            let mut left = batch;
            while !left.is_empty() {
                let sent = sender.send_batch(left).context("cannot forge")?;
                left = left.get(sent..).unwrap_or_default();
            }
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
