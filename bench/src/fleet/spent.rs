//! Whose work the cores did meanwhile: what a time is bound by.

use std::fs;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::site::Site;
use crate::results::{Shares, Spread};

/// The processor time that was spent so far.
pub(super) struct Spent {
    at: Instant,
    etcd: Duration,
    daemons: Duration,
    clients: Duration,
}

/// One measurement.
pub(super) struct Run {
    took: Duration,
    shares: Shares,
}

impl Spent {
    /// What was spent by etcd, the daemons and this process.
    pub(super) fn by(site: &Site) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            etcd: site.members().map(of_process).sum::<Result<_>>()?,
            daemons: site.daemons().map(of_process).sum::<Result<_>>()?,
            clients: of_process(process::id())?,
        })
    }
}

impl Run {
    /// From a time, since the epoch, to another; `before` was spent until then.
    pub(super) fn since(
        started: Duration,
        ended: Duration,
        before: &Spent,
        site: &Site,
    ) -> Result<Self> {
        let now = Spent::by(site)?;
        let cores = std::thread::available_parallelism()?.get();
        let all = (now.at - before.at).as_secs_f64() * f64::from(u32::try_from(cores)?);
        let share = |of: fn(&Spent) -> Duration| {
            // A thread that has ended takes its time with it.
            of(&now).saturating_sub(of(before)).as_secs_f64() / all
        };
        Ok(Self {
            took: ended.saturating_sub(started),
            shares: Shares {
                etcd: share(|spent| spent.etcd),
                daemons: share(|spent| spent.daemons),
                clients: share(|spent| spent.clients),
            },
        })
    }
}

impl Spread {
    /// Of these measurements.
    pub(super) fn of(mut runs: Vec<Run>) -> Result<Self> {
        runs.sort_by_key(|run| run.took);
        let milliseconds = |run: &Run| run.took.as_secs_f64() * 1e3;
        let (first, last) = runs.first().zip(runs.last()).context("no measurement")?;
        let median = runs.get(runs.len() / 2).unwrap_or(last);
        Ok(Self {
            least_ms: milliseconds(first),
            median_ms: milliseconds(median),
            most_ms: milliseconds(last),
            slowest: last.shares,
        })
    }
}

/// The processor time of all threads of a process.
fn of_process(pid: u32) -> Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = 0;
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(entry?.path().join("schedstat")).unwrap_or_default();
        let spent: Option<u64> = text.split(' ').next().and_then(|word| word.parse().ok());
        sum += spent.unwrap_or_default();
    }
    Ok(Duration::from_nanos(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_spent_counts() {
        let before = of_process(process::id()).unwrap();
        let started = Instant::now();
        while of_process(process::id()).unwrap() < before + Duration::from_millis(20) {
            assert!(started.elapsed() < Duration::from_mins(1));
        }
    }

    #[test]
    fn the_slowest_of_many_counts() {
        let run = |milliseconds, etcd| Run {
            took: Duration::from_millis(milliseconds),
            shares: Shares {
                etcd,
                ..Shares::default()
            },
        };
        let spread = Spread::of(vec![run(3, 0.3), run(9, 0.9), run(1, 0.1)]).unwrap();
        assert_eq!(
            (spread.least_ms, spread.median_ms, spread.most_ms),
            (1.0, 3.0, 9.0)
        );
        let most = Shares {
            etcd: 0.9,
            ..Shares::default()
        };
        assert_eq!(spread.slowest, most);
        assert!(Spread::of(Vec::new()).is_err());
    }
}
