//! The buckets of the packet threads; see [`limit`](proxydhcp_common::limit).

use proxydhcp_common::limit::{Bucket, LINES, Line, Ticks, ticks};
use proxydhcp_common::source::{Place, Seed, Source};
use rustix::time::ClockId;

use crate::sys::{clock, random};

/// The buckets, shared by all packet threads. The XDP programs have theirs in maps.
#[derive(Debug)]
pub struct Limits {
    seed: Seed,
    lines: Vec<Line>,
}

impl Default for Limits {
    fn default() -> Self {
        let lines = (0..LINES).map(|_| Line::default());
        Self {
            seed: seed(),
            lines: lines.collect(),
        }
    }
}

impl Limits {
    /// The bucket of `source`.
    pub(crate) fn bucket(&self, source: &Source) -> Option<Bucket<'_>> {
        let Place { line, key } = self.seed.place(source);
        let line = self.lines.get(usize::try_from(line).ok()?)?;
        Some(Bucket::new(line, key))
    }
}

/// A new seed.
pub(crate) fn seed() -> Seed {
    Seed([(); 4].map(|()| random::number()))
}

/// The time, to a few milliseconds, on a clock that never goes back.
pub(crate) fn now() -> Ticks {
    ticks(clock::nanoseconds(ClockId::MonotonicCoarse))
}

#[cfg(test)]
mod tests {
    use proxydhcp_common::limit::Limit;

    use super::*;

    #[test]
    fn sources_share_no_bucket() {
        let limits = Limits::default();
        let limit = Limit::new(1, 2);
        for last in 0..=255 {
            let source = Source {
                address: [10, 0, 0, last],
                mac: [2, 0, 0, 0, 0, 1],
                chaddr: [2, 0, 0, 0, 0, last],
            };
            let bucket = limits.bucket(&source).unwrap();
            let charge = |()| bucket.charge(limit, 5);
            assert_eq!([(); 3].map(charge), [true, true, false], "{last}");
        }
    }

    #[test]
    fn the_clock_goes_on() {
        let before = now();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let ticked = now().wrapping_sub(before);
        assert!(ticked >= ticks(30_000_000), "{ticked}");
    }
}
