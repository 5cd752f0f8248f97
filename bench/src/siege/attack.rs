//! The hostile packets of a siege, and their sender.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use proxydhcp_lab::hostile::{Forger, Hostile};
use proxydhcp_lab::{CLIENT_MAC, Namespace};

use super::CLIENTS;
use crate::cluster::Node;
use crate::generator::{Generator, Sent};

/// The node whose address is forged.
const FORGED: Node = Node(0);
/// Hostile packets per second that should arrive, forged requests not counted.
const WANTED: f64 = 500_000.0;
/// The generator does not catch up after moments without its core, so it is asked for this many
/// times what is wanted: that leaves enough on a machine that is not quite idle.
const MARGIN: f64 = 1.4;
/// The number of different hostile frames, which are repeated.
const FRAMES: u16 = 1536;
/// How long a stint lasts. The kernel needs some 20 ms between two, so one should cover a whole
/// storm.
const STINT: Duration = Duration::from_millis(300);
/// The number of generator runs in the first stint, which only shows how fast the generator is.
const FIRST_STINT: u32 = 300_000;

/// Requests in each node's name, besides the other hostile packets.
#[derive(Clone, Copy, Debug)]
struct Forgery {
    forger: Forger,
    /// Requests per second in the name of each node.
    rate: u16,
    /// The number of machines that take turns to ask in each node's name: so few that each exceeds
    /// its limit by far.
    machines: u16,
}

impl Forgery {
    /// On the nodes' own network and through their router, at a low and at a high rate.
    fn all() -> impl Iterator<Item = Self> {
        let forgers = [Forger::OnTheWire, Forger::ByRouter(CLIENT_MAC)];
        forgers.into_iter().flat_map(|forger| {
            [(30, 1), (300, 4)].map(|(rate, machines)| Self {
                forger,
                rate,
                machines,
            })
        })
    }

    fn per_second(self) -> f64 {
        f64::from(self.rate) * f64::from(CLIENTS)
    }

    /// One request in the name of each node, then the same from the next machine, and so on.
    fn frames(self) -> Vec<Vec<u8>> {
        let machines = 0..self.machines;
        let nodes = || Node::all(CLIENTS + 1).skip(1);
        machines
            .flat_map(|machine| nodes().map(move |node| (node, machine)))
            .map(|(node, machine)| {
                // Each node has forgers of its own.
                let number = machine * 1000 + u16::try_from(node.0 % 1000).unwrap_or_default();
                self.forger.request(node.address(), number).bytes()
            })
            .collect()
    }
}

/// The hostile traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    /// The kind of packets; `None` stands for all kinds.
    kind: Option<Hostile>,
    forgery: Option<Forgery>,
    /// Packets per second; `None` stands for the generator's full speed.
    pub(super) pace: Option<f64>,
}

impl Attack {
    /// Each kind alone if wanted, and all kinds in turn, the latter also with requests in each node's
    /// name and at full speed.
    pub(crate) fn all(each_kind: bool) -> Vec<Self> {
        let kinds = Hostile::ALL.into_iter().filter(|_| each_kind).map(Some);
        let paced = kinds.chain([None]).map(|kind| Self {
            kind,
            forgery: None,
            pace: Some(WANTED * MARGIN),
        });
        let forged = Forgery::all().map(|forgery| Self {
            kind: None,
            forgery: Some(forgery),
            pace: Some((WANTED + forgery.per_second()) * MARGIN),
        });
        let at_full_speed = Self {
            kind: None,
            forgery: None,
            pace: None,
        };
        paced.chain(forged).chain([at_full_speed]).collect()
    }

    pub(super) fn name(self) -> String {
        let kind = self.kind.map_or("all by turns", Hostile::name);
        match (self.forgery, self.pace) {
            (Some(Forgery { forger, rate, .. }), _) => {
                let way = match forger {
                    Forger::OnTheWire => "",
                    Forger::ByRouter(_) => " by router",
                };
                format!("{kind}, each node forged {rate}/s{way}")
            }
            (None, Some(_)) => kind.to_owned(),
            (None, None) => format!("{kind}, full speed"),
        }
    }

    /// All frames have the same length, so shorter ones are padded, as on Ethernet.
    fn frames(self) -> Vec<Vec<u8>> {
        let node = FORGED.address();
        let mut frames = self.kind.map_or_else(
            || Hostile::mixed(node, FRAMES),
            |kind| kind.frames(node, FRAMES),
        );
        if let Some(forgery) = self.forgery {
            frames = mixed(&forgery.frames(), &frames, forgery.per_second() / WANTED);
        }
        let longest = frames.iter().map(Vec::len).max().unwrap_or_default();
        for frame in &mut frames {
            frame.resize(longest, 0);
        }
        frames
    }
}

/// All frames of `forged`, mixed with as many of `others`, which are repeated, that `ratio` forged
/// frames go out for each of the others.
fn mixed(forged: &[Vec<u8>], others: &[Vec<u8>], ratio: f64) -> Vec<Vec<u8>> {
    let mut others = others.iter().cycle();
    let mut mixed = Vec::new();
    let mut owed = 0.0;
    for frame in forged {
        owed += 1.0 / ratio;
        while owed >= 1.0 {
            mixed.extend(others.next().cloned());
            owed -= 1.0;
        }
        mixed.push(frame.clone());
    }
    mixed
}

/// Sends the hostile packets.
pub(super) struct Attacker<'a> {
    clients: &'a Namespace,
    generator: Generator,
    pace: Option<f64>,
    /// The number of generator runs in a stint.
    runs: u32,
    pub(super) sent: u64,
}

impl<'a> Attacker<'a> {
    /// Creates an attacker, and sends a little to learn how fast it is.
    pub(super) fn new(clients: &'a Namespace, attack: Attack) -> Result<Self> {
        let mut attacker = Self {
            clients,
            generator: Generator::new(clients, &attack.frames())?,
            pace: attack.pace,
            runs: FIRST_STINT,
            sent: 0,
        };
        attacker.attack(&AtomicBool::new(true))?;
        Ok(attacker)
    }

    /// Sends from this thread's core, at least one stint, until `over` is set.
    pub(super) fn attack(&mut self, over: &AtomicBool) -> Result<()> {
        loop {
            let started = Instant::now();
            let send = || self.generator.send(self.pace, self.runs);
            let Sent { requests, .. } = self.clients.run(send)?;
            self.sent += requests;
            self.runs = runs(self.runs, started.elapsed());
            if over.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }
}

/// The number of runs in a stint, if `before` runs took this long.
fn runs(before: u32, took: Duration) -> u32 {
    let ratio = STINT.as_secs_f64() / took.as_secs_f64().max(1e-3);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some millions"
    )]
    let next = (f64::from(before) * ratio) as u32;
    next.max(FIRST_STINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_an_attack_are_of_one_length() {
        let attacks = Attack::all(true);
        assert_eq!(attacks.len(), Hostile::ALL.len() + 2 + 4);
        for attack in attacks {
            let frames = attack.frames();
            assert!(frames.len() >= usize::from(FRAMES));
            assert!(frames.iter().all(|frame| frame.len() == frames[0].len()));
        }
    }

    #[test]
    fn each_node_is_forged_as_often_as_is_said() {
        for attack in Attack::all(false) {
            let Some(forgery) = attack.forgery else {
                continue;
            };
            let frames = attack.frames();
            let names: Vec<_> = Node::all(CLIENTS + 1).skip(1).map(Node::address).collect();
            let forged = |frame: &&Vec<u8>| {
                let source: [u8; 4] = frame[26..30].try_into().unwrap();
                names.contains(&source.into())
            };
            let forged: Vec<_> = frames.iter().filter(forged).collect();
            let machines = usize::from(forgery.machines);
            assert_eq!(forged.len(), names.len() * machines);
            let others = frames.len() - forged.len();
            let wanted = usize::from(forgery.rate) * 2 * others / 1000;
            assert!(forged.len().abs_diff(wanted) < 60, "{forgery:?}: {others}");
        }
    }

    #[test]
    fn a_stint_takes_its_time() {
        assert_eq!(runs(1_000_000, STINT / 2), 2_000_000);
        assert_eq!(runs(1_000_000, STINT * 2), 500_000);
        assert_eq!(runs(1_000_000, STINT * 20), FIRST_STINT);
    }
}
