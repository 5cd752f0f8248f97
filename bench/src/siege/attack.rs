//! The hostile packets of a siege, and who sends them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use proxydhcp_lab::Namespace;
use proxydhcp_lab::hostile::Hostile;

use crate::cluster::Node;
use crate::generator::{Generator, Sent};

/// The node whose address is forged.
const FORGED: Node = Node(0);
/// Hostile packets a second. The generator does not make up for moments that it was kept from its
/// core: this leaves it more than half a million on a machine that is not quite idle.
const PACE: f64 = 700_000.0;
/// Hostile frames, over and over.
const FRAMES: u16 = 1536;
/// The kernel needs some 20 ms between two stints, so one is to last for a whole storm.
const STINT: Duration = Duration::from_millis(300);
/// How often the generator runs in the first one, which only shows how fast it is.
const FIRST_STINT: u32 = 300_000;

/// What comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    /// All kinds where there is none.
    kind: Option<Hostile>,
    /// Packets a second; as many as the generator can where there is none.
    pub(super) pace: Option<f64>,
}

impl Attack {
    /// Each kind by itself if wanted, and all kinds by turns, these at full speed too.
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

    /// The generator's frames are of one length: shorter ones are padded, as Ethernet does.
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

/// Who sends them.
pub(super) struct Attacker<'a> {
    clients: &'a Namespace,
    generator: Generator,
    pace: Option<f64>,
    /// The generator's runs in a stint.
    runs: u32,
    pub(super) sent: u64,
}

impl<'a> Attacker<'a> {
    /// One who has sent a little already, and knows how fast he is.
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

    /// Sends from this thread's core, one stint at least, until it is over.
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

/// The runs of a stint, after so many have taken so long.
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
