//! What a datapath counts, and the numbering that kernel and userspace share.

use crate::judge::Reason;

/// What has become of the requests a datapath has seen: [`ANSWERED`], [`HANDED_UP`], then one
/// count per [`Reason`].
pub type Counts = [u64; COUNTERS];

/// How many counters there are.
pub const COUNTERS: usize = 2 + Reason::ALL.len();

/// Requests that got their reply.
pub const ANSWERED: usize = 0;

/// Frames given to the next slower path, which counts what becomes of them.
pub const HANDED_UP: usize = 1;

/// The counter of requests refused for `reason`.
#[inline(always)]
#[must_use]
pub const fn refused(reason: Reason) -> usize {
    2 + reason as usize
}
