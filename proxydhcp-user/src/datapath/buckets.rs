//! The buckets of the packet threads; see [`limit`](proxydhcp_common::limit).

use proxydhcp_common::limit::{LINES, Limit, Line, Ticks, ticks};
use proxydhcp_common::wire::Address;
use rustix::time::{ClockId, clock_gettime};

/// The buckets, shared by all packet threads. The XDP programs have theirs in maps.
#[derive(Debug)]
pub struct Limits(Vec<Line>);

impl Default for Limits {
    fn default() -> Self {
        Self((0..LINES).map(|_| Line::default()).collect())
    }
}

impl Limits {
    /// Takes one request out of the bucket of `source`; false if the bucket is empty.
    pub(crate) fn charge(&self, source: Address, limit: Limit, now: Ticks) -> bool {
        let line = usize::try_from(Line::of(source)).ok();
        let line = line.and_then(|line| self.0.get(line));
        line.is_none_or(|line| line.charge(source, limit, now))
    }
}

/// The time, to a few milliseconds, on a clock that never goes back.
pub(crate) fn now() -> Ticks {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(i64::cast_unsigned);
    // It wraps like the ticks themselves.
    ticks(
        seconds
            .wrapping_mul(1_000_000_000)
            .wrapping_add(nanoseconds),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_share_no_bucket() {
        let limits = Limits::default();
        let limit = Limit::new(1, 2);
        for last in 0..=255 {
            let taken = [(); 3].map(|()| limits.charge([10, 0, 0, last], limit, 5));
            assert_eq!(taken, [true, true, false], "{last}");
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
