//! The system's clocks that never go back.

use rustix::time::{ClockId, clock_gettime};

/// The time on a clock in nanoseconds. They fill 64 bits, which takes centuries.
pub(crate) fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(i64::cast_unsigned);
    seconds
        .wrapping_mul(1_000_000_000)
        .wrapping_add(nanoseconds)
}
