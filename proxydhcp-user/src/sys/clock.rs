//! The system's clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The time on a clock in nanoseconds. They fill 64 bits, which takes centuries.
pub(crate) fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(i64::cast_unsigned);
    seconds
        .wrapping_mul(1_000_000_000)
        .wrapping_add(nanoseconds)
}

/// The time of day, in seconds since 1970.
pub(crate) fn since_1970() -> f64 {
    seconds(SystemTime::now())
}

/// A time in seconds since 1970; 0 for an earlier one, which a file has from a clock that was not set.
pub(crate) fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
