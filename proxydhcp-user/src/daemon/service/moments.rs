//! The time of day of a moment since the machine started.

use std::sync::atomic::{AtomicU64, Ordering};

use proxydhcp_common::activity::{Moment, moment};

use crate::datapath::activity::nanoseconds;
use crate::sys::clock;

/// How far the time of day may drift before moments are converted anew, in seconds.
const DRIFT: f64 = 0.1;
/// A moment's length, in seconds.
pub(super) const MOMENT: f64 = (1_u32 << 24) as f64 / 1e9;

/// The time of day at which the machine started, as bits of a number of seconds since 1970. It is kept
/// until the time of day is set otherwise, so that whoever looks twice at what has not changed sees the
/// same times.
#[derive(Debug, Default)]
pub(super) struct Start(AtomicU64);

/// Converts moments to the time of day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: f64,
    /// Nanoseconds since the machine started, by the clock of moments.
    now: u64,
}

impl Start {
    pub(super) fn clock(&self) -> Clock {
        self.clock_at(nanoseconds(), clock::since_1970())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "months have 53 bits of nanoseconds"
    )]
    fn clock_at(&self, now: u64, time_of_day: f64) -> Clock {
        let start = time_of_day - now as f64 / 1e9;
        let known = f64::from_bits(self.0.load(Ordering::Relaxed));
        let start = if (start - known).abs() < DRIFT {
            known
        } else {
            self.0.store(start.to_bits(), Ordering::Relaxed);
            start
        };
        Clock { start, now }
    }
}

impl Clock {
    /// The moment that it is.
    pub(super) const fn moment(self) -> Moment {
        moment(self.now)
    }

    /// The time of day that it is, in seconds since 1970.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    pub(super) fn now(self) -> f64 {
        self.start + self.now as f64 / 1e9
    }

    /// The time of day of a moment, in seconds since 1970.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    pub(super) fn time(self, moment: Moment) -> f64 {
        // Clocks of other CPUs may be a little ahead.
        let ago = self.moment().wrapping_sub(moment).cast_signed().max(0);
        let since_start = (self.now >> 24).saturating_sub(u64::from(ago.unsigned_abs()));
        self.start + since_start as f64 * MOMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 7_000_000_000_000;

    #[test]
    fn what_has_not_changed_has_the_same_time_again() {
        let start = Start::default();
        let noted = moment(NOW - 5_000_000_000);
        let first = start.clock_at(NOW, 1.8e9).time(noted);
        assert!((first - (1.8e9 - 5.0)).abs() < 0.05, "{first}");
        // The clocks are not read at the same instant, and a coarse one lags.
        for (later, time_of_day) in [
            (3_000_000, 1.8e9 + 0.003),
            (9_000_000, 1.8e9 + 0.013),
            (900_000_000_000, 1.8e9 + 900.01),
        ] {
            let again = start.clock_at(NOW + later, time_of_day).time(noted);
            assert_eq!(again.to_bits(), first.to_bits(), "{again} {first}");
        }
    }

    #[test]
    fn a_time_of_day_that_is_set_counts() {
        let start = Start::default();
        let noted = moment(NOW);
        assert!((start.clock_at(NOW, 1e9).time(noted) - 1e9).abs() < 0.05);
        assert!((start.clock_at(NOW, 1.8e9).time(noted) - 1.8e9).abs() < 0.05);
        assert!((start.clock_at(NOW, 1.8e9).now() - 1.8e9).abs() < 1e-3);
    }
}
