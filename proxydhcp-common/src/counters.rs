//! The counters of a datapath, and their numbers, which kernel and user space share.
//!
//! Each frame that [`crate::headers::find`] finds is counted as [`RECEIVED`] immediately, and under
//! exactly one outcome later. So, when no frame is in progress, all outcomes of a datapath add up
//! to what it has received. User space counts one more outcome: replies that the interface did not
//! take.

use crate::verdict::Reason;

/// The outcomes of the packets that a datapath has seen: [`RECEIVED`], [`ANSWERED`], [`HANDED_UP`],
/// [`PASSED`], [`LIMITED`], then one count for each [`Reason`].
pub type Counts = [u64; COUNTERS];

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

/// The first of the counters of refused requests.
const REFUSED: usize = 5;

/// The counter of requests refused for `reason`.
#[inline(always)]
#[must_use]
pub const fn refused(reason: Reason) -> usize {
    REFUSED + reason as usize
}
