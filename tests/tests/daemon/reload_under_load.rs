//! A hundred reloads under a steady load lose no request and mix no tables.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_clients::Reply;
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{RequestFrame, Tap, alone};
use serde_json::Value;

use crate::amid_load::amid_load;
use crate::cluster::Cluster;

/// Where all nodes are moved to and fro.
const WINPES: [&str; 2] = ["winboot/old/", "winboot/new/"];
const NODES: u16 = 1000;
const RELOADS: usize = 100;
/// How many answers come at least, a hundred for each reload: fewer are no load.
const LEAST: u32 = 10_000;
/// Between two reloads: each table serves for a while.
const PAUSE: Duration = Duration::from_millis(20);
/// A hundred reloads take some seconds, and minutes on an emulated machine; they must not hang.
const PATIENCE: Duration = Duration::from_mins(5);

#[test]
fn native_xdp() -> Result<()> {
    reload_under_load(Datapath::Native)
}

#[test]
fn generic_xdp() -> Result<()> {
    reload_under_load(Datapath::Generic)
}

#[test]
fn af_xdp() -> Result<()> {
    reload_under_load(Datapath::AfXdp)
}

#[test]
fn raw() -> Result<()> {
    reload_under_load(Datapath::Raw)
}

fn reload_under_load(datapath: Datapath) -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::new(NODES);
    let files = Files::new()?;
    cluster.write_hosts(&files)?;
    cluster.write_config(&files, WINPES[0])?;
    let mut site = Site::start(datapath, files, &[])?;
    let requests = cluster.requests();

    // The reply to each node from the one table and from the other, without any load.
    let new = known_replies(&mut site, &cluster, &requests, WINPES[1])?;
    let old = known_replies(&mut site, &cluster, &requests, WINPES[0])?;
    // The tap would take a copy of each frame from now on.
    site.tap = Tap::open(&site.lab.client, "lo")?;
    let before = answered(&site)?;

    let frames: Vec<RequestFrame> = requests.into_iter().map(|(frame, _)| frame).collect();
    let (mut by_old, mut by_new) = (0, 0);
    let mut check = |reply: &Reply| {
        let [old, new] = [&old, &new].map(|known| known.get(reply.request_index));
        *if is_new(reply, old, new)? {
            &mut by_new
        } else {
            &mut by_old
        } += 1;
        Ok(())
    };
    let amid = amid_load(&mut site, &frames, &mut check, |site| {
        reload_to_and_fro(site, &cluster)
    })?;
    let (load, reloads) = (amid.load, amid.work);
    println!(
        "{datapath:?}: {} requests at {:.0} a second, {} missing; {} reloads, the longest {:.1} ms",
        load.sent,
        load.rate(),
        load.missing(),
        reloads.len(),
        reloads.iter().copied().fold(0.0, f64::max),
    );
    ensure!(load.is_flawless(), "{load:?}\n{}", site.describe());
    ensure!(amid.meanwhile >= LEAST, "{} only", amid.meanwhile);
    assert!(by_old > 0 && by_new > 0, "{by_old} and {by_new}");
    assert_eq!(answered(&site)? - before, u64::from(load.sent));
    Ok(())
}

/// The reply to each node from a table that sends it to this WinPE.
fn known_replies(
    site: &mut Site,
    cluster: &Cluster,
    requests: &[(RequestFrame, u16)],
    winpe: &str,
) -> Result<Vec<Vec<u8>>> {
    cluster.write_config(&site.files, winpe)?;
    reload(site)?;
    requests
        .iter()
        .map(|(request, arch)| site.ask(request, winpe, *arch))
        .collect()
}

/// Moves all nodes to the other WinPE again and again; returns what each reload took, in
/// milliseconds.
fn reload_to_and_fro(site: &Site, cluster: &Cluster) -> Result<Vec<f64>> {
    let started = Instant::now();
    let mut took = Vec::new();
    for winpe in WINPES.iter().rev().cycle().take(RELOADS) {
        ensure!(started.elapsed() < PATIENCE, "{} reloads only", took.len());
        cluster.write_config(&site.files, winpe)?;
        let report = reload(site)?;
        let figure = |path| report.pointer(path).and_then(Value::as_f64);
        ensure!(
            figure("/changes/changed/count") == Some(f64::from(NODES)),
            "{report}"
        );
        took.push(figure("/took/total").context("no time")?);
        thread::sleep(PAUSE);
    }
    Ok(took)
}

fn reload(site: &Site) -> Result<Value> {
    let output = site.command(&["reload", "--json"])?;
    ensure!(output.code == Some(0), "{output:?}");
    Ok(serde_json::from_str(&output.stdout)?)
}

fn answered(site: &Site) -> Result<u64> {
    let counters = site.counters()?;
    let answered = counters.get("answered").and_then(Value::as_u64);
    answered.context("no counter")
}

/// Whether a reply is to the last byte that of the new table, or that of the old one.
fn is_new(reply: &Reply, old: Option<&Vec<u8>>, new: Option<&Vec<u8>>) -> Result<bool> {
    let fixed = but_number(reply.frame);
    let is = |known: Option<&Vec<u8>>| known.is_some_and(|known| fixed == but_number(known));
    let is_new = is(new);
    ensure!(
        is_new || is(old),
        "neither of the old table nor of the new one: {}",
        reply.frame.escape_ascii()
    );
    Datagram::parse(reply.frame)?.verify_checksums()?;
    Ok(is_new)
}

/// A frame without the xid and the UDP checksum, which covers it.
fn but_number(frame: &[u8]) -> Option<[&[u8]; 3]> {
    const UDP: usize = 14 + 20;
    Some([
        frame.get(..UDP + 6)?,
        frame.get(UDP + 8..UDP + 12)?,
        frame.get(UDP + 16..)?,
    ])
}
