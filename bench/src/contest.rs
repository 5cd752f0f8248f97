//! Storms and floods: every contender in turn, each on a wire of its own.

use anyhow::{Context, Result, bail};
use proxydhcp_lab::CLIENT_INTERFACE;

use crate::cluster::{Files, Node};
use crate::contender::{Contender, Start};
use crate::flood::flood;
use crate::pin::Cores;
use crate::plan::{Figure, Observer, Plan, Progress, tell};
use crate::results::{Results, Storm};
use crate::session::Session;
use proxydhcp_clients::{Client, storm};

/// The number of clients in a flood.
const FLOOD_CLIENTS: u32 = 20_000;

/// Runs storms and floods as planned. A contender that fails is noted and left out.
pub(crate) fn contest(
    plan: &Plan,
    cores: Cores,
    results: &mut Results,
    observer: &mut Observer,
) -> Result<()> {
    let nodes = plan.storms().iter().copied().fold(FLOOD_CLIENTS, u32::max);
    let files = Files::write(&plan.folder.join("contest"), nodes)?;
    let start = Start {
        binary: &plan.binary,
        files: &files,
        folder: &plan.folder,
        cores,
    };
    for contender in &plan.contenders {
        let name = contender.name();
        tell(observer, Progress::Step(&format!("{name}: starts")))?;
        let mut broken_off = false;
        let mut observer = |progress: Progress| {
            let flow = observer(progress);
            broken_off |= flow.is_break();
            flow
        };
        let met = meet(plan, contender, &start, results, &mut observer);
        match met {
            Err(error) if !broken_off => results.failures.push(format!("{name}: {error:#}")),
            other => other?,
        }
    }
    Ok(())
}

/// Runs one contender's storms and its flood.
fn meet(
    plan: &Plan,
    contender: &Contender,
    start: &Start,
    results: &mut Results,
    observer: &mut Observer,
) -> Result<()> {
    let name = contender.name();
    let mut session = Session::start(contender, start)?;
    if plan.wants(Figure::Storm) {
        for &count in plan.storms() {
            let what = format!("{name}: storm of {count} clients");
            tell(observer, Progress::Step(&what))?;
            let storm = one_storm(&session, contender, count, observer).with_context(|| what)?;
            results.storm.push(storm);
        }
    }
    if plan.wants(Figure::Flood) {
        let what = format!("{name}: flood");
        tell(observer, Progress::Step(&what))?;
        let requests: Vec<Vec<u8>> = Node::all(FLOOD_CLIENTS)
            .map(|node| node.request().bytes())
            .collect();
        let mut go_on = |detail: &str| tell(observer, Progress::Detail(detail));
        let effort = plan.flood_effort();
        let flood =
            flood(&mut session, name, &requests, effort, &mut go_on).with_context(|| what)?;
        results.flood.push(flood);
    }
    Ok(())
}

fn one_storm(
    session: &Session,
    contender: &Contender,
    count: u32,
    observer: &mut Observer,
) -> Result<Storm> {
    let clients: Vec<Client> = Node::all(count)
        .map(|node| {
            let mut client = node.client();
            if !contender.is_checked() {
                client.expected = None;
            }
            client
        })
        .collect();
    let mut last = usize::MAX;
    let report = storm(
        &session.lab.client,
        CLIENT_INTERFACE,
        &clients,
        &mut |standing| {
            if standing.answered == last {
                // Reported although nothing is new, so that the run can be aborted.
                return observer(Progress::Detail(""));
            }
            last = standing.answered;
            observer(Progress::Detail(&format!("{last} answered")))
        },
    )?;
    if let Some(fault) = report.faults().next() {
        bail!("a wrong answer: {fault}; its log:\n{}", session.log());
    }
    Ok(Storm::new(contender.name(), &report))
}
