//! A siege: a series of boot storms while hostile packets come in.

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proxydhcp::api::status::{Counters, Status};
use proxydhcp_lab::{CLIENT_INTERFACE, SERVER_INTERFACE};

use crate::cluster::{Files, Node};
use crate::contender::{Contender, Start};
use crate::pin::Cores;
use crate::plan::{Observer, Plan, Progress, tell};
use crate::received::{Interfaces, Received};
use crate::results::{Results, Siege};
use crate::session::Session;
use crate::storm_figures::milliseconds;
use proxydhcp_clients::StormReport;
use proxydhcp_clients::{Client, storm};

pub(crate) mod attack;

use attack::{Attack, Attacker};

/// The number of clients in a storm. They are the nodes after the first, whose address is forged.
const CLIENTS: u32 = 1000;
/// How long hostile packets come in before the storm begins.
const BEFORE: Duration = Duration::from_millis(80);

/// Runs all sieges. One that fails is noted and left out.
pub(crate) fn sieges(
    plan: &Plan,
    cores: Cores,
    results: &mut Results,
    observer: &mut Observer,
) -> Result<()> {
    let files = Files::write(&plan.folder.join("siege"), CLIENTS + 1)?;
    let start = Start {
        binary: &plan.binary,
        files: &files,
        folder: &plan.folder,
        cores,
    };
    let effort = plan.siege_effort();
    for contender in Contender::as_installed() {
        for attack in Attack::all(effort.each_kind) {
            let what = format!("{} amid {}", contender.name(), attack.name());
            tell(observer, Progress::Step(&what))?;
            let mut broken_off = false;
            let mut observer = |progress: Progress| {
                let flow = observer(progress);
                broken_off |= flow.is_break();
                flow
            };
            match besiege(&contender, &start, attack, effort.storms, &mut observer) {
                Err(error) if !broken_off => results.failures.push(format!("{what}: {error:#}")),
                other => results.siege.push(other?),
            }
        }
    }
    Ok(())
}

fn besiege(
    contender: &Contender,
    start: &Start,
    attack: Attack,
    count: usize,
    observer: &mut Observer,
) -> Result<Siege> {
    let session = Session::start(contender, start)?;
    session.take_redirected()?;
    let server = Interfaces::of(&session.lab.server)?;
    let mut attacker = Attacker::new(&session.lab.client, attack)?;
    let mut storms = Vec::new();
    for number in 1..=count {
        let detail = format!("storm {number} of {count}");
        let mut go_on = || observer(Progress::Detail(&detail));
        let over = AtomicBool::new(false);
        let stormed = thread::scope(|scope| {
            let attack = scope.spawn(|| attacker.attack(&over));
            thread::sleep(BEFORE);
            // From now on, the thread above runs on the other core.
            let pinned = start.cores.pin_to_responder();
            let stormed = pinned.and_then(|()| stormed(&session, &server, &mut go_on));
            over.store(true, Ordering::Relaxed);
            start.cores.pin_generator()?;
            attack.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            stormed
        });
        storms.push(stormed?);
    }
    let total = server.received(SERVER_INTERFACE)?;
    let summaries = storms.iter().map(|storm| storm.report.summary(None));
    let first_tries = summaries.map(|summary| summary.first_try);
    let rates = storms.iter().map(|storm| storm.hostile.per_second());
    let all = together(&storms)?.summary(None);
    Ok(Siege {
        datapath: contender.name().to_owned(),
        hostile: attack.name(),
        pace: attack.pace,
        hostile_per_second: Arrived::sum(storms.iter().map(|storm| storm.hostile)).per_second(),
        hostile_per_second_least: rates.fold(f64::INFINITY, f64::min),
        hostile_sent: attacker.sent,
        no_room: total.dropped,
        storms: count,
        clients: CLIENTS as usize,
        first_try: all.first_try,
        first_try_least: first_tries.min().unwrap_or_default(),
        never: all.never,
        p99_ms: all.p99.map(milliseconds),
        max_ms: all.max.map(milliseconds),
        counters: counters(&session, start.files)?,
    })
}

/// A storm, and the traffic that came in meanwhile.
struct Stormed {
    report: StormReport,
    hostile: Arrived,
}

fn stormed(
    session: &Session,
    server: &Interfaces,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Stormed> {
    let nodes = Node::all(CLIENTS + 1).skip(1);
    let clients: Vec<Client> = nodes.map(Node::client).collect();
    let mut samples = Vec::new();
    let client = &session.lab.client;
    let report = storm(client, CLIENT_INTERFACE, &clients, &mut |_| {
        samples.push((Instant::now(), server.received(SERVER_INTERFACE)));
        go_on()
    })?;
    if let Some(fault) = report.faults().next() {
        bail!("a wrong answer: {fault}; its log:\n{}", session.log());
    }
    Ok(Stormed {
        hostile: Arrived::between(samples, report.asked)?,
        report,
    })
}

/// Combines all storms into one.
fn together(storms: &[Stormed]) -> Result<StormReport> {
    let outcomes = storms.iter().flat_map(|storm| &storm.report.outcomes);
    Ok(StormReport {
        outcomes: outcomes.cloned().collect(),
        asked: storms.iter().map(|storm| storm.report.asked).sum(),
        ..storms.first().context("no storm")?.report.clone()
    })
}

/// The hostile packets that came in.
#[derive(Clone, Copy, Debug, Default)]
struct Arrived {
    packets: u64,
    time: Duration,
}

impl Arrived {
    /// Computes the traffic from the first sample to the last, without the nodes' own requests.
    fn between(samples: Vec<(Instant, Result<Received>)>, asked: usize) -> Result<Self> {
        let mut samples = samples.into_iter();
        let (began, first) = samples.next().context("a storm without a beginning")?;
        let (ended, last) = samples.next_back().context("a storm without an end")?;
        Ok(Self {
            packets: (last?.frames - first?.frames).saturating_sub(asked as u64),
            time: ended - began,
        })
    }

    fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            packets: sum.packets + one.packets,
            time: sum.time + one.time,
        })
    }

    fn per_second(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let packets = self.packets as f64;
        packets / self.time.as_secs_f64().max(1e-9)
    }
}

fn counters(session: &Session, files: &Files) -> Result<Counters> {
    let daemon = session.daemon().context("no daemon")?;
    let control = files.control.display().to_string();
    let args = ["status", "--json", "--control", &control];
    let output = daemon.proxydhcp(&session.lab.server, &args)?;
    ensure!(output.status.success(), "no status: {output:?}");
    let status: Status =
        serde_json::from_slice(&output.stdout).context("the daemon's status is not what it was")?;
    let interface = status.interfaces.into_iter().next();
    Ok(interface.context("no interface is served")?.counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_is_without_the_nodes_own_requests() {
        let start = Instant::now();
        let samples = [(0, 500), (10, 9000), (20, 13_500)].map(|(milliseconds, frames)| {
            let received = Received { frames, dropped: 0 };
            (start + Duration::from_millis(milliseconds), Ok(received))
        });
        let one = Arrived::between(samples.into(), 1000).unwrap();
        let both = Arrived::sum([one, one].into_iter());
        assert!((both.per_second() - 600_000.0).abs() < 1e-6, "{both:?}");
        assert!(Arrived::between(Vec::new(), 0).is_err());
    }
}
