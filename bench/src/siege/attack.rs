//! The hostile packets of a siege, and their sender.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use proxydhcp_lab::Namespace;
use proxydhcp_lab::hostile::Hostile;

use crate::cluster::Node;
use crate::generator::{Generator, Sent};

/// The node whose address is forged.
const FORGED: Node = Node(0);
/// Hostile packets per second. The generator does not catch up after moments without its core, so
/// this leaves more than half a million on a machine that is not quite idle.
const PACE: f64 = 700_000.0;
/// The number of different hostile frames, which are repeated.
const FRAMES: u16 = 1536;
/// How long a stint lasts. The kernel needs some 20 ms between two, so one should cover a whole
/// storm.
const STINT: Duration = Duration::from_millis(300);
/// The number of generator runs in the first stint, which only shows how fast the generator is.
const FIRST_STINT: u32 = 300_000;

/// The hostile traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    /// The kind of packets; `None` stands for all kinds.
    kind: Option<Hostile>,
    /// Packets per second; `None` stands for the generator's full speed.
    pub(super) pace: Option<f64>,
}

impl Attack {
    /// Each kind alone if wanted, and all kinds in turn, also at full speed.
    pub(crate) fn all(each_kind: bool) -> Vec<Self> {
        let kinds = Hostile::ALL.into_iter().filter(|_| each_kind).map(Some);
        let paced = kinds.chain([None]).map(|kind| Self {
            kind,
            pace: Some(PACE),
        });
        let at_full_speed = Self {
            kind: None,
            pace: None,
        };
        paced.chain([at_full_speed]).collect()
    }

    pub(super) fn name(self) -> String {
        let kind = self.kind.map_or("all by turns", Hostile::name);
        match self.pace {
            Some(_) => kind.to_owned(),
            None => format!("{kind}, full speed"),
        }
    }

    /// All frames have the same length, so shorter ones are padded, as on Ethernet.
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
        assert_eq!(attacks.len(), Hostile::ALL.len() + 2);
        for attack in attacks {
            let frames = attack.frames();
            assert_eq!(frames.len(), usize::from(FRAMES));
            assert!(frames.iter().all(|frame| frame.len() == frames[0].len()));
        }
    }

    #[test]
    fn a_stint_takes_its_time() {
        assert_eq!(runs(1_000_000, STINT / 2), 2_000_000);
        assert_eq!(runs(1_000_000, STINT * 2), 500_000);
        assert_eq!(runs(1_000_000, STINT * 20), FIRST_STINT);
    }
}
