//! Offers: clients that ask for one all at once, and then on port 4011.

use anyhow::{Result, bail};
use proxydhcp_clients::{Conversation, ConversationReport, Conversed, converse, percentile};
use proxydhcp_lab::CLIENT_INTERFACE;
use std::time::Duration;

use crate::cluster::{Files, Node};
use crate::contender::{Contender, Start};
use crate::pin::Cores;
use crate::plan::{Observer, Plan, Progress, tell};
use crate::results::{Offers, Results};
use crate::session::Session;
use crate::storm_figures::milliseconds;

/// The number of clients.
const CLIENTS: u32 = 10_000;

/// Has all clients talk to each contender that can make offers. One that fails is noted and left out.
pub(crate) fn offers(
    plan: &Plan,
    cores: Cores,
    results: &mut Results,
    observer: &mut Observer,
) -> Result<()> {
    let files = Files::write(&plan.folder.join("offers"), CLIENTS)?;
    files.know_hardware(CLIENTS)?;
    let start = Start {
        binary: &plan.binary,
        files: &files,
        folder: &plan.folder,
        cores,
    };
    for contender in plan.contenders.iter().filter_map(Contender::offering) {
        let name = contender.name();
        tell(observer, Progress::Step(&format!("{name}: offers")))?;
        let mut broken_off = false;
        let mut observer = |progress: Progress| {
            let flow = observer(progress);
            broken_off |= flow.is_break();
            flow
        };
        match meet(plan, &contender, &start, &mut observer) {
            Err(error) if !broken_off => results.failures.push(format!("{name}: {error:#}")),
            other => results.offers.push(other?),
        }
    }
    Ok(())
}

fn meet(
    plan: &Plan,
    contender: &Contender,
    start: &Start,
    observer: &mut Observer,
) -> Result<Offers> {
    let session = Session::start(contender, start)?;
    let clients: Vec<Conversation> = Node::all(CLIENTS)
        .map(|node| {
            let client = node.client();
            Conversation {
                discover: client.request.discover(),
                request: client.request,
                expected: client.expected.filter(|_| contender.is_checked()),
            }
        })
        .collect();
    let mut reports = Vec::new();
    for _ in 0..plan.offer_rounds() {
        let report = converse(
            &session.lab.client,
            CLIENT_INTERFACE,
            &clients,
            &mut |answered| observer(Progress::Detail(&format!("{answered} answered"))),
        )?;
        if let Some(fault) = report.fault() {
            bail!("a wrong answer: {fault}; its log:\n{}", session.log());
        }
        reports.push(report);
    }
    Ok(figures(contender.name(), &reports))
}

fn figures(contender: &str, reports: &[ConversationReport]) -> Offers {
    const A_SECOND: Duration = Duration::from_secs(1);
    let clients = || reports.iter().flat_map(|report| &report.clients);
    let times = |of: fn(&Conversed) -> Option<Duration>| -> Vec<Duration> {
        let mut times: Vec<Duration> = clients().filter_map(of).collect();
        times.sort_unstable();
        times
    };
    let offered = times(|it| it.offered);
    let answered = times(|it| it.answered);
    let of = |times: &[Duration], percent| percentile(times, percent).map(milliseconds);
    Offers {
        contender: contender.to_owned(),
        conversations: clients().count(),
        offered_in_a_second: offered.iter().filter(|time| **time <= A_SECOND).count(),
        lost: reports.iter().map(ConversationReport::lost).sum(),
        offer_p50_ms: of(&offered, 50),
        offer_p99_ms: of(&offered, 99),
        offer_max_ms: of(&offered, 100),
        answer_p99_ms: of(&answered, 99),
        answer_max_ms: of(&answered, 100),
        longest_ms: reports
            .iter()
            .map(|report| report.took)
            .max()
            .map_or(0.0, milliseconds),
    }
}
