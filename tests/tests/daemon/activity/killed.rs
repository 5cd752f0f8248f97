//! A daemon is killed in the midst of a storm: the next one shows what the nodes did before, meanwhile
//! and afterwards.
#![allow(clippy::indexing_slicing, reason = "what JSON lacks is null")]

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::site::{Datapath, Site};
use proxydhcp_lab::{RequestFrame, alone};
use serde_json::Value;

use super::{json_of, restart};
use crate::amid_load::amid_load;
use crate::cluster::Cluster;

const NODES: u16 = 1000;
const WINPE: &str = "winboot/x/";
/// How long nobody but the kernel, if it answers at all, is there to note what comes in.
const ALONE: Duration = Duration::from_millis(200);

/// What is known of each node, by its name.
type Nodes = HashMap<String, Value>;

fn nodes(site: &Site) -> Result<Nodes> {
    let all = json_of(site, &["nodes"])?;
    let all = all.as_array().context("no array")?.iter();
    let named = all.map(|node| Some((node["node"].as_str()?.to_owned(), node.clone())));
    named.collect::<Option<_>>().context("a node has no name")
}

/// How often a node has asked.
fn requests(node: &Value) -> Result<u64> {
    node["requests"].as_u64().context("no number of requests")
}

#[test]
fn a_daemon_killed_in_mid_storm_leaves_what_it_has_seen_to_the_next() -> Result<()> {
    let _alone = alone();
    for datapath in Datapath::ALL {
        in_mid_storm(datapath).with_context(|| format!("{datapath:?}"))?;
    }
    Ok(())
}

fn in_mid_storm(datapath: Datapath) -> Result<()> {
    let cluster = Cluster::new(NODES);
    let mut site = cluster.unlimited(datapath, WINPE, &[])?;
    let frames: Vec<RequestFrame> = cluster.requests().into_iter().map(|(it, _)| it).collect();
    let mut answered = vec![0_u64; frames.len()];
    let mut count = |reply: &proxydhcp_clients::Reply| {
        let node = answered.get_mut(reply.request_index);
        *node.context("no such node")? += 1;
        Ok(())
    };
    let amid = amid_load(&mut site, &frames, &mut count, |site| {
        let before = nodes(site)?;
        site.daemon.crash()?;
        let killed = SystemTime::now().duration_since(UNIX_EPOCH)?;
        thread::sleep(ALONE);
        restart(site, datapath, &[])?;
        Ok((before, killed.as_secs_f64(), nodes(site)?))
    })?;
    let (before, killed, next) = amid.work;
    let last = nodes(&site)?;
    let load = &amid.load;
    println!(
        "{datapath:?}: {} requests, {} of them lost; at the kill, the nodes had {} requests, to the next \
         daemon {}, in the end {}",
        load.sent,
        load.missing(),
        sum(&before)?,
        sum(&next)?,
        sum(&last)?,
    );
    for (number, answered) in (0_u32..).zip(answered) {
        let name = format!("n{number}");
        let of = |nodes: &Nodes| nodes.get(&name).cloned().context("it is missing");
        let (before, next, last) = (of(&before)?, of(&next)?, of(&last)?);
        let what = format!("{name}\nbefore: {before}\nnext: {next}\nlast: {last}");
        let counts = [&before, &next, &last].map(requests);
        let [before, next, known] = counts.map(Result::ok).map(Option::unwrap_or_default);
        // Nothing of the first half is forgotten, neither by the next daemon nor later on.
        ensure!(0 < before && before <= next && next < known, "{what}");
        let [first, time] = ["first", "last"].map(|it| last[it].as_f64().unwrap_or_default());
        ensure!(0.0 < first && first < killed && killed < time, "{what}");
        ensure!(last["state"] == "answered", "{what}");
        let sent = load.sent / u32::from(NODES);
        let sent = u64::from(sent + u32::from(number < load.sent % u32::from(NODES)));
        ensure!(
            (answered..=sent).contains(&known),
            "{sent} sent, {answered} answered; {what}"
        );
        if matches!(datapath, Datapath::Native | Datapath::Generic) {
            // The kernel notes even what comes while no daemon is there.
            ensure!(known == sent, "{sent} sent; {what}");
        }
    }
    Ok(())
}

fn sum(nodes: &Nodes) -> Result<u64> {
    nodes.values().map(requests).sum()
}
