//! The counters of a datapath, and their numbers, which kernel and user space share.
//!
//! Each frame that [`crate::headers::find`] finds is counted as [`RECEIVED`] immediately, and under
//! exactly one outcome later. So, when no frame is in progress, all outcomes of a datapath add up
//! to what it has received. User space counts one more outcome: replies that the interface did not
//! take.

use crate::verdict::Reason;

/// The outcomes of the packets that a datapath has seen: [`RECEIVED`], [`ANSWERED`], [`HANDED_UP`],
/// [`PASSED`], [`LIMITED`], [`EXPIRED`], then one count for each [`Reason`].
pub type Counts = [u64; COUNTERS];

/// What has become of the packets that came in by one interface, in its place of a table of
/// [`PLACES`]: the one at its number modulo their count, or one of the few behind it. Numbers go up
/// one by one, so that interfaces seldom want the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counted {
    /// The kernel's number for the interface; 0: nobody counts here.
    pub interface: u64,
    /// The kernel's count of timer ticks when the time was taken last.
    pub jiffy: u64,
    /// The time then, in nanoseconds since the machine started.
    pub nanoseconds: u64,
    /// The counts.
    pub counts: Counts,
    /// The number of strangers that were noted in this [`Moment`](crate::activity::Moment).
    pub noted: u64,
    /// The requests of strangers that were not noted, because there were too many.
    pub unnoted: u64,
}

/// Places for interfaces that one XDP program counts for, a power of two.
pub const PLACES: u32 = 256;

/// Places that are looked at for one interface.
pub const TRIES: u32 = 4;

/// Queues of an interface that there can be AF_XDP sockets for.
pub const QUEUES: u32 = 256;

/// The places where the counts of an interface may be.
#[inline(always)]
pub fn places(interface: u32) -> impl Iterator<Item = u32> {
    (0..TRIES).map(move |next| interface.wrapping_add(next) & (PLACES - 1))
}

/// The number of counters.
pub const COUNTERS: usize = REFUSED + Reason::ALL.len();

/// IPv4/UDP packets to port 4011, whatever becomes of them.
pub const RECEIVED: usize = 0;

/// Requests that were answered.
pub const ANSWERED: usize = 1;

/// Frames handed to the next slower path, which counts their outcomes.
pub const HANDED_UP: usize = 2;

/// Packets to other hosts.
pub const PASSED: usize = 3;

/// Requests from a source that had exceeded the rate limit, see [`crate::limit`].
pub const LIMITED: usize = 4;

/// Packets that the XDP program has let pass because no daemon has given a sign of life for too
/// long.
pub const EXPIRED: usize = 5;

/// The first of the counters of refused requests.
const REFUSED: usize = 6;

const _: () = assert!(REFUSED == EXPIRED + 1, "a number is missing or taken twice");

/// The counter of requests refused for `reason`.
#[inline(always)]
#[must_use]
pub const fn refused(reason: Reason) -> usize {
    REFUSED + reason as usize
}
