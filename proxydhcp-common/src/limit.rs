//! The rate limit for each source: a bucket of requests, which is refilled at a steady rate.
//!
//! The source of a UDP datagram can be forged. A request in a node's name that does not come from
//! the node is taken out of another bucket than the node's: see [`crate::source`].
//!
//! A bucket is one word (the generic cell rate algorithm, ITU-T I.371): the time at which it will
//! be full again. The bucket is full if that time is past, and empty if it is a whole burst ahead.
//! The word and its key are 8 bytes, which are read and written at once: CPUs that charge at the
//! same time never mix two sources, and lose at most one charge.
//!
//! The table has a fixed size, so a new source replaces the one in its line whose bucket is fullest:
//! forgetting a full bucket loses nothing. The new bucket is full, unless one of its siblings, which
//! differ from it in `chaddr` alone, is in the line: then the bucket keeps the level it had. So
//! requests with a `chaddr` invented for each, from behind a router, share [`SPREAD`](crate::source::SPREAD) lines of
//! buckets and no more, and the number of replies that the router carries to a forged address is
//! limited too.

use core::sync::atomic::AtomicU64;

use crate::words::{high, load, low, store};

/// The number of sources in a line.
pub const SLOTS: usize = 8;

/// The number of lines of buckets in a table, a power of two: 65,536 sources in 512 KiB.
pub const LINES: u32 = 1 << 13;

/// The number of lines in a table that is kept for a successor: the last holds the seed.
pub const TABLE: u32 = LINES + 1;

/// The bits of a key that are the same in its siblings.
const SIBLINGS: u32 = 0xfff0_0000;

/// Whether two keys in one line belong to one IP address and one MAC address. Of the keys of other
/// sources, one in 4,096 does by chance.
#[inline(always)]
#[must_use]
pub const fn are_siblings(key: u32, other: u32) -> bool {
    (key ^ other) & SIBLINGS == 0
}

/// Time in ticks of 2^16 ns (66 µs), on any clock that never goes back. It wraps after 78 hours.
pub type Ticks = u32;

/// Converts nanoseconds into ticks.
#[expect(clippy::cast_possible_truncation, reason = "it wraps")]
#[inline(always)]
#[must_use]
pub const fn ticks(nanoseconds: u64) -> Ticks {
    (nanoseconds >> 16) as Ticks
}

/// The number of ticks in a second.
const SECOND: u32 = 15_258;

/// How much the clocks of CPUs and threads may differ. A time that is further ahead than a whole
/// burst and this dates from before the clock wrapped, or before the limit was lowered, and counts
/// as past.
const SLACK: Ticks = SECOND;

/// The rate limit for one source; by default there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// The time in which a bucket gains one request; 0 if there is no limit.
    pub interval: u16,
    /// The time in which an empty bucket becomes full.
    pub whole: u32,
}

impl Limit {
    /// The highest rate and the largest burst that are possible.
    pub const MOST: u16 = 10_000;

    /// The default number of requests of one source that are answered per second.
    ///
    /// No client comes near it, by a factor of more than two. iPXE asks 4 times in 3.75 s, at 0,
    /// 0.25, 0.75 and 1.75 s, and EDK2 4 times in 10 s, at 0, 1, 3 and 6 s. A machine that runs
    /// both clocks twice at once asks 16 times: [`Limit::BURST`] alone, without any refill, allows
    /// more. And one that restarts them over and over asks 2 * (4 / 3.75 + 4 / 10) = 2.9 times a
    /// second. Nodes, and virtual machines, have addresses of their own.
    pub const RATE: u16 = 10;

    /// The default number of requests of one source that are answered at once.
    pub const BURST: u16 = 20;

    /// Allows `rate` requests per second, less a quarter of one, and `burst` of them at once; a rate
    /// of 0 is no limit.
    ///
    /// If a whole number of refills made a second, each second would bring them at the same moments,
    /// and a forger whose requests use up the bucket might always be ahead of EDK2, which asks at 0,
    /// 1, 3 and 6 s. Because of the quarter, these four come at different quarters of a refill.
    ///
    /// The time between two requests is rounded up to ticks: 10 become 9.75 per second, 1,000 become
    /// 953, 10,000 become 7,629.
    #[must_use]
    pub fn new(rate: u16, burst: u16) -> Self {
        let (rate, burst) = (rate.min(Self::MOST), burst.clamp(1, Self::MOST));
        #[expect(clippy::cast_possible_truncation, reason = "4/3 of a second at most")]
        let interval = if rate == 0 {
            0
        } else {
            (4 * SECOND).div_ceil(4 * u32::from(rate) - 1) as u16
        };
        Self {
            interval,
            whole: u32::from(interval) * u32::from(burst),
        }
    }

    /// How long a bucket that is full at `until` still needs: 0 to [`Limit::whole`], and a little
    /// more if clocks differ.
    #[inline(always)]
    const fn ahead(self, until: Ticks, now: Ticks) -> Ticks {
        let ahead = until.wrapping_sub(now);
        if ahead > self.whole + SLACK { 0 } else { ahead }
    }
}

/// Eight buckets, one cache line. An entry consists of the bucket's key, and in the upper half the
/// time at which it is full.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Line([AtomicU64; SLOTS]);

impl Line {
    /// Prefetches the line into this CPU's cache.
    #[inline(always)]
    fn fetch(&self) {
        let [first, ..] = &self.0;
        let _ = load(first);
    }

    /// Takes one request out of the bucket with this key; false if the bucket is empty.
    #[inline(always)]
    fn charge(&self, key: u32, limit: Limit, now: Ticks) -> bool {
        for slot in &self.0 {
            let entry = load(slot);
            // Entries are filled from the front, so the rest is free.
            if entry == 0 {
                return take(slot, key, 0, limit, now);
            }
            if low(entry) == key {
                let ahead = limit.ahead(high(entry), now);
                return take(slot, key, ahead, limit, now);
            }
        }
        let [first, ..] = &self.0;
        let mut fullest = first;
        let mut least = Ticks::MAX;
        let mut has_sibling = false;
        for slot in &self.0 {
            let entry = load(slot);
            let ahead = limit.ahead(high(entry), now);
            if ahead < least {
                (fullest, least) = (slot, ahead);
            }
            if ahead == 0 {
                break;
            }
            has_sibling |= are_siblings(low(entry), key);
        }
        let ahead = if has_sibling { least } else { 0 };
        take(fullest, key, ahead, limit, now)
    }
}

/// The bucket of a source.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'t> {
    line: &'t Line,
    key: u32,
}

impl<'t> Bucket<'t> {
    /// The bucket with this key in its line, which is prefetched.
    #[inline(always)]
    pub fn new(line: &'t Line, key: u32) -> Self {
        line.fetch();
        Self { line, key }
    }

    /// Takes one request out of the bucket; false if it is empty.
    #[inline(always)]
    pub fn charge(self, limit: Limit, now: Ticks) -> bool {
        self.line.charge(self.key, limit, now)
    }
}

/// Takes one request out of a bucket that needs the time `ahead` to be full.
#[inline(always)]
fn take(slot: &AtomicU64, key: u32, ahead: Ticks, limit: Limit, now: Ticks) -> bool {
    let ahead = ahead + Ticks::from(limit.interval);
    if ahead > limit.whole {
        return false;
    }
    let until = now.wrapping_add(ahead);
    store(slot, u64::from(until) << 32 | u64::from(key));
    true
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const A: u32 = 1 << 20;
    const DEFAULT: fn() -> Limit = || Limit::new(Limit::RATE, Limit::BURST);
    /// A second divided by 9.75.
    const INTERVAL: Ticks = 1565;

    /// The number of requests answered out of `count` at once.
    fn at_once(line: &Line, source: u32, now: Ticks, count: u32) -> u32 {
        let charge = |_: &u32| line.charge(source, DEFAULT(), now);
        u32::try_from((0..count).filter(charge).count()).unwrap()
    }

    #[test]
    fn a_burst_is_answered_and_then_the_rate() {
        let line = Line::default();
        assert_eq!(at_once(&line, A, 1000, 100), 20);
        assert_eq!(at_once(&line, A, 1000, 100), 0);
        assert_eq!(at_once(&line, A, 1000 + 10 * INTERVAL, 100), 10);
        assert_eq!(at_once(&line, A, 1000 + 15 * INTERVAL, 100), 5);
        // The bucket is full again, and no fuller than that.
        assert_eq!(at_once(&line, A, 1000 + SECOND * 60, 100), 20);
    }

    #[test]
    fn the_clocks_of_all_firmware_twice_over_are_answered() {
        const IPXE: [u32; 4] = [0, 250, 750, 1750];
        const EDK2: [u32; 4] = [0, 1000, 3000, 6000];
        let line = Line::default();
        // For an hour, with each clock restarted as soon as it has run down.
        let over_and_over = |clock: [u32; 4], lasts: u32| {
            (0..3_600_000 / lasts).flat_map(move |run| clock.map(|at| run * lasts + at))
        };
        let mut times: Vec<u32> = over_and_over(IPXE, 3750)
            .chain(over_and_over(EDK2, 10_000))
            .flat_map(|at| [at, at])
            .collect();
        times.sort_unstable();
        for milliseconds in times {
            let now = ticks(u64::from(milliseconds) * 1_000_000);
            assert!(line.charge(A, DEFAULT(), now), "at {milliseconds} ms");
        }
    }

    #[test]
    fn the_clock_may_wrap_and_stand_still() {
        let line = Line::default();
        let before = u32::MAX - SECOND / 2;
        assert_eq!(at_once(&line, A, before, 100), 20);
        let second = before.wrapping_add(10 * INTERVAL);
        assert_eq!(at_once(&line, A, second, 100), 10);
        // A thread whose time is slightly older must not find it full.
        assert_eq!(at_once(&line, A, second.wrapping_sub(60), 100), 0);
        // A bucket left almost a whole wrap ago counts as past.
        let line = Line::default();
        assert_eq!(at_once(&line, A, SECOND * 10, 100), 20);
        assert_eq!(at_once(&line, A, SECOND * 5, 100), 20);
    }

    #[test]
    fn a_line_forgets_the_fullest() {
        let line = Line::default();
        let source = |last: u32| last << 20;
        // Number 3 has asked least.
        for last in 1..=8 {
            at_once(&line, source(last), 0, if last == 3 { 2 } else { 4 });
        }
        assert!(line.charge(source(9), DEFAULT(), 1));
        let known: Vec<u32> = line.0.iter().map(|slot| low(load(slot))).collect();
        let has = |last| known.contains(&source(last));
        assert!(!has(3) && has(9) && (1..=8).filter(|last| has(*last)).count() == 7);
        // The others keep their buckets.
        assert_eq!(at_once(&line, source(1), 1, 100), 16);
        assert_eq!(at_once(&line, source(9), 1, 100), 19);
    }

    #[test]
    fn siblings_share_what_a_line_has() {
        let line = Line::default();
        let sibling = |number: u32| 7 << 20 | number;
        // Siblings that never ask twice get what eight buckets hold.
        let one_each = |from: u32| {
            let charge = |number: &u32| line.charge(sibling(*number), DEFAULT(), 0);
            (from..from + 1000).filter(charge).count()
        };
        assert_eq!(one_each(0), 8 * 20);
        assert_eq!(one_each(1000), 0);
        // Another source gets a full bucket, which they do not get back as a full one.
        assert_eq!(at_once(&line, 8 << 20, 0, 100), 20);
        assert_eq!(one_each(2000), 0);
    }

    #[test]
    fn a_sibling_that_asks_too_often_is_limited_alone() {
        let line = Line::default();
        assert_eq!(at_once(&line, 7 << 20 | 1, 0, 1000), 20);
        assert_eq!(at_once(&line, 7 << 20 | 2, 0, 1000), 20);
    }

    #[test]
    fn edk2_meets_a_forger_in_step_at_each_quarter_of_a_refill() {
        // The nearest one.
        let quarter = |seconds: u64| {
            let phase = ticks(seconds * 1_000_000_000) % INTERVAL;
            (phase * 4 + INTERVAL / 2) / INTERVAL % 4
        };
        let mut quarters = [0, 1, 3, 6].map(quarter);
        quarters.sort_unstable();
        assert_eq!(quarters, [0, 1, 2, 3]);
    }

    #[test]
    fn a_limit_is_what_it_says() {
        assert_eq!(Limit::new(0, 20).interval, 0);
        let slow = Limit::new(1, 1);
        assert_eq!((slow.interval, slow.whole), (20_344, 20_344));
        let most = Limit::new(u16::MAX, u16::MAX);
        assert_eq!((most.interval, most.whole), (2, 20_000));
        // Never more than the rate, although ticks are coarse.
        for rate in 1..=Limit::MOST {
            assert!(u32::from(Limit::new(rate, 1).interval) * u32::from(rate) >= SECOND);
        }
        assert!(Limit::new(1, u16::MAX).whole < u32::MAX / 2);
        let twice = 2 * (4 + 4);
        assert!(twice <= Limit::BURST);
    }

    /// A bucket with room for `burst` requests, modelled by counting.
    struct Model {
        left: f64,
        at: f64,
    }

    proptest! {
        #[test]
        fn a_bucket_is_a_bucket(
            rate in 1..200_u16,
            burst in 1..50_u16,
            start in any::<u32>(),
            asks in proptest::collection::vec((0..6_u8, 0..40_000_u32), 1..300),
        ) {
            let limit = Limit::new(rate, burst);
            let line = Line::default();
            let mut models: HashMap<u8, Model> = HashMap::new();
            let mut elapsed = 0_u32;
            for (who, pause) in asks {
                elapsed += pause;
                let at = f64::from(elapsed);
                let model = models.entry(who).or_insert(Model { left: burst.into(), at });
                let gained = (at - model.at) / f64::from(limit.interval);
                model.left = (model.left + gained).min(burst.into());
                model.at = at;
                // If the result depends on rounding, either is right.
                let charged = line.charge(u32::from(who) << 20, limit, start.wrapping_add(elapsed));
                if charged {
                    prop_assert!(model.left > 1.0 - 1e-6, "{} left", model.left);
                    model.left -= 1.0;
                } else {
                    prop_assert!(model.left < 1.0 + 1e-6, "{} left", model.left);
                }
            }
        }
    }
}
