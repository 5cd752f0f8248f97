//! A siege: boot storms, one after another, while hostile packets come in all the time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proxydhcp::status::{Counters, Status};
use proxydhcp_lab::hostile::Hostile;
use proxydhcp_lab::{CLIENT_INTERFACE, Namespace, SERVER_INTERFACE};

use crate::cluster::{Files, Node};
use crate::contender::{Contender, Start};
use crate::generator::Generator;
use crate::pin::Cores;
use crate::report::StormReport;
use crate::results::{Results, Siege};
use crate::run::{Observer, Plan, Progress, tell};
use crate::session::Session;
use crate::storm_figures::milliseconds;
use crate::{Client, storm};

/// The node whose address is forged, and those that are powered on.
const FORGED: Node = Node(0);
const CLIENTS: u32 = 1000;
/// Hostile packets a second. The generator does not make up for moments that it was kept from its
/// core: this leaves it a fifth more than the half million that is to be shown.
const PACE: f64 = 600_000.0;
/// Hostile frames, over and over.
const FRAMES: u16 = 1536;
/// The siege is well under way when the first storm comes.
const BEFORE: Duration = Duration::from_millis(200);
/// The generator is told for about so long at a time how often to run.
const STINT: Duration = Duration::from_millis(400);
const FIRST_STINT: u32 = 300_000;

/// How thoroughly to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Storms of each siege.
    pub(crate) storms: usize,
    /// Each kind of hostile packets by itself too.
    pub(crate) each_kind: bool,
}

/// What comes in.
#[derive(Clone, Copy)]
struct Attack {
    /// All kinds where there is none.
    kind: Option<Hostile>,
    pace: Option<f64>,
}

impl Attack {
    fn all(effort: Effort) -> Vec<Self> {
        let paced = |kind| Self {
            kind,
            pace: Some(PACE),
        };
        let kinds = Hostile::ALL.into_iter().filter(|_| effort.each_kind);
        let mut attacks: Vec<Self> = kinds.map(|kind| paced(Some(kind))).collect();
        attacks.push(paced(None));
        attacks.push(Self {
            kind: None,
            pace: None,
        });
        attacks
    }

    fn name(self) -> String {
        let kind = self.kind.map_or("all by turns", Hostile::name);
        match self.pace {
            Some(_) => kind.to_owned(),
            None => format!("{kind}, full speed"),
        }
    }

    /// The generator's frames are of one length. Shorter ones are padded, as Ethernet does.
    fn frames(self) -> Vec<Vec<u8>> {
        let node = FORGED.address();
        let mut frames = self.kind.map_or_else(
            || Hostile::mixed(node, FRAMES),
            |kind| kind.frames(node, FRAMES),
        );
        let longest = frames.iter().map(Vec::len).max().unwrap_or_default();
        for frame in &mut frames {
            frame.resize(longest, 0);
        }
        frames
    }
}

/// How many steps all sieges have.
pub(crate) fn steps(effort: Effort) -> usize {
    Contender::as_installed().len() * Attack::all(effort).len()
}

/// All sieges. One that fails is noted and left out.
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
        for attack in Attack::all(effort) {
            let what = format!("{} amid {}", contender.name(), attack.name());
            tell(observer, Progress::Step(&what))?;
            let mut broken_off = false;
            let mut observer = |progress: Progress| {
                let flow = observer(progress);
                broken_off |= flow.is_break();
                flow
            };
            let siege = besiege(&contender, &start, attack, effort, &mut observer);
            // Whatever thread it was left on.
            cores.pin_generator()?;
            match siege {
                Ok(siege) => results.siege.push(siege),
                Err(error) if broken_off => return Err(error),
                Err(error) => results.failures.push(format!("{what}: {error:#}")),
            }
        }
    }
    Ok(())
}

fn besiege(
    contender: &Contender,
    start: &Start,
    attack: Attack,
    effort: Effort,
    observer: &mut Observer,
) -> Result<Siege> {
    let session = Session::start(contender, start)?;
    session.take_redirected()?;
    let arrivals = Arrivals::open(&session.lab.server)?;
    let mut generator = Generator::new(&session.lab.client, &attack.frames())?;
    let over = AtomicBool::new(false);
    let storms = thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            session
                .lab
                .client
                .run(|| send_until(&mut generator, attack.pace, &over))
        });
        let storms = start
            .cores
            .pin_to_responder()
            .and_then(|()| storms(&session, &arrivals, effort.storms, observer));
        over.store(true, Ordering::Relaxed);
        attacker
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))?;
        storms
    })?;
    let all = StormReport {
        outcomes: storms
            .iter()
            .flat_map(|storm| storm.report.outcomes.clone())
            .collect(),
        ..storms.first().context("no storm")?.report.clone()
    };
    let summary = all.summary(None);
    let first_tries = storms.iter().map(|s| s.report.summary(None).first_try);
    let rates = storms.iter().map(|storm| storm.hostile.per_second());
    Ok(Siege {
        datapath: contender.name().to_owned(),
        hostile: attack.name(),
        pace: attack.pace,
        hostile_per_second: Arrived::sum(storms.iter().map(|storm| storm.hostile)).per_second(),
        hostile_per_second_least: rates.fold(f64::INFINITY, f64::min),
        storms: storms.len(),
        clients: CLIENTS as usize,
        first_try: summary.first_try,
        first_try_least: first_tries.min().unwrap_or_default(),
        never: summary.never,
        p99_ms: summary.p99.map(milliseconds),
        max_ms: summary.max.map(milliseconds),
        counters: counters(&session, start.files)?,
    })
}

/// Sends hostile packets from this thread until it is over.
fn send_until(generator: &mut Generator, pace: Option<f64>, over: &AtomicBool) -> Result<()> {
    let mut runs = FIRST_STINT;
    while !over.load(Ordering::Relaxed) {
        let started = Instant::now();
        generator.send(pace, runs)?;
        let ratio = STINT.as_secs_f64() / started.elapsed().as_secs_f64().max(1e-3);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some millions"
        )]
        let next = (f64::from(runs) * ratio) as u32;
        runs = next.max(FIRST_STINT);
    }
    Ok(())
}

/// A storm, and what came in meanwhile.
struct Stormed {
    report: StormReport,
    hostile: Arrived,
}

fn storms(
    session: &Session,
    arrivals: &Arrivals,
    count: usize,
    observer: &mut Observer,
) -> Result<Vec<Stormed>> {
    thread::sleep(BEFORE);
    let clients: Vec<Client> = Node::all(CLIENTS + 1)
        .skip(1)
        .map(|node| node.client())
        .collect();
    let mut storms = Vec::new();
    for number in 1..=count {
        let detail = format!("storm {number} of {count}");
        let mut samples = Vec::new();
        let report = storm(&session.lab.client, CLIENT_INTERFACE, &clients, &mut |_| {
            samples.push((Instant::now(), arrivals.total()));
            observer(Progress::Detail(&detail))
        })?;
        if let Some(fault) = report.faults().next() {
            bail!("a wrong answer: {fault}; its log:\n{}", session.log());
        }
        let asked: usize = report.outcomes.iter().map(|outcome| outcome.tries).sum();
        let hostile = Arrived::between(samples, asked)?;
        storms.push(Stormed { report, hostile });
    }
    Ok(storms)
}

/// What the server's interface has received, by the kernel's list of interfaces.
struct Arrivals(File);

impl Arrivals {
    fn open(server: &Namespace) -> Result<Self> {
        // It stays the list of this namespace.
        let open = || Ok(File::open("/proc/thread-self/net/dev")?);
        server.run(open).map(Self)
    }

    fn total(&self) -> Result<u64> {
        let mut buffer = [0; 4096];
        let length = self.0.read_at(&mut buffer, 0)?;
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        received(&text, SERVER_INTERFACE).context("the kernel does not tell what has come in")
    }
}

fn received(text: &str, interface: &str) -> Option<u64> {
    const PACKETS: usize = 1;
    let counts = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    counts.split_whitespace().nth(PACKETS)?.parse().ok()
}

/// Hostile packets that came in.
#[derive(Clone, Copy, Debug, Default)]
struct Arrived {
    packets: u64,
    time: Duration,
}

impl Arrived {
    /// From the first sample to the last, without the nodes' own requests.
    fn between(samples: Vec<(Instant, Result<u64>)>, asked: usize) -> Result<Self> {
        let mut samples = samples.into_iter();
        let (began, first) = samples.next().context("a storm without a beginning")?;
        let (ended, last) = samples.next_back().context("a storm without an end")?;
        Ok(Self {
            packets: (last? - first?).saturating_sub(asked as u64),
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
    fn frames_of_an_attack_are_of_one_length() {
        let effort = Effort {
            storms: 1,
            each_kind: true,
        };
        let attacks = Attack::all(effort);
        assert_eq!(attacks.len(), Hostile::ALL.len() + 2);
        for attack in attacks {
            let frames = attack.frames();
            assert_eq!(frames.len(), FRAMES.into());
            assert!(frames.iter().all(|frame| frame.len() == frames[0].len()));
        }
    }

    #[test]
    fn what_came_in_is_without_the_nodes_own_requests() {
        let start = Instant::now();
        let samples = [(0, 500), (10, 9000), (20, 13_500)]
            .map(|(milliseconds, count)| (start + Duration::from_millis(milliseconds), Ok(count)));
        let one = Arrived::between(samples.into(), 1000).unwrap();
        let both = Arrived::sum([one, one].into_iter());
        assert!((both.per_second() - 600_000.0).abs() < 1e-6, "{both:?}");
        assert!(Arrived::between(Vec::new(), 0).is_err());
    }

    #[test]
    fn received_packets_are_those_of_the_interface() {
        let text = "Inter-|   Receive\n face |bytes packets errs drop fifo\n\
                    px01: 1 2 3 9 5\n   px0: 10 20 3 4 5\n";
        assert_eq!(received(text, "px0"), Some(20));
        assert_eq!(received(text, "px"), None);
    }
}
