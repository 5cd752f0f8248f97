//! What the clients of all service nodes were told last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::site::Site;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often it is looked whether it has come.
const LOOK: Duration = Duration::from_millis(2);
/// What the path of each version begins with; its number follows.
const PATH: &str = "winboot/run-";

/// The path of a version.
pub(super) fn path(version: u64) -> String {
    format!("{PATH}{version}")
}

/// What was heard, by the wires.
pub(super) struct Heard {
    wires: Mutex<Vec<Told>>,
    wrong: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct Told {
    /// The version that the first node was told last, and when it was told it first.
    first: u64,
    since: Duration,
    /// The version that the other nodes were told last.
    others: u64,
}

impl Heard {
    pub(super) fn new(wires: usize) -> Self {
        Self {
            wires: Mutex::new(vec![Told::default(); wires]),
            wrong: AtomicU64::new(0),
        }
    }

    /// Forgets it, since the service nodes have ended.
    pub(super) fn forget(&self) {
        self.wires().fill(Told::default());
    }

    /// Notes an answer. One of an earlier version than those before it is wrong: what is in service is
    /// replaced as a whole.
    pub(super) fn note(&self, heard: &proxydhcp_clients::Heard) {
        let version = heard.file.strip_prefix(PATH);
        let version = version.and_then(|rest| rest.split('/').next()?.parse().ok());
        let mut wires = self.wires();
        let Some((told, version)) = wires.get_mut(heard.wire).zip(version) else {
            self.wrong.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let last = if heard.request_index == 0 {
            &mut told.first
        } else {
            &mut told.others
        };
        if version < *last {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        } else if version > *last {
            *last = version;
            if heard.request_index == 0 {
                told.since = heard.time;
            }
        }
    }

    /// Waits until the first node is told this version on all wires. Returns when it was told it on the
    /// last of them.
    pub(super) fn wait_for(&self, version: u64, site: &Site) -> Result<Duration> {
        let started = Instant::now();
        loop {
            let wires = self.wires().clone();
            if wires.iter().all(|told| told.first == version) {
                let times = wires.iter().map(|told| told.since);
                return Ok(times.max().unwrap_or_default());
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "a service node does not serve what is new; their logs:\n{}",
                    site.logs()
                );
            }
            thread::sleep(LOOK);
        }
    }

    /// The number of wrong answers.
    pub(super) fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }

    fn wires(&self) -> std::sync::MutexGuard<'_, Vec<Told>> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_each_other() {
        let heard = Heard::new(2);
        let note = |wire, request_index, file: &str| {
            heard.note(&proxydhcp_clients::Heard {
                wire,
                request_index,
                time: Duration::from_secs(wire as u64 + 1),
                file,
            });
            heard.wrong()
        };
        assert_eq!(note(0, 0, "winboot/run-1/Boot/x"), 0);
        assert_eq!(note(1, 0, &format!("{}/x", path(2))), 0);
        assert_eq!(note(1, 7, "winboot/run-1/x"), 0);
        assert_eq!(note(1, 0, "winboot/run-1/x"), 1);
        assert_eq!(note(1, 7, "Boot/x"), 2);
        assert_eq!(heard.wires()[1].since, Duration::from_secs(2));
    }
}
