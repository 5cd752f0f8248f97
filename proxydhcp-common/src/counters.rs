//! What a datapath counts, and the numbering that kernel and userspace share.
//!
//! Each frame that [`crate::headers::find`] finds is counted as [`RECEIVED`] there and then, and
//! under exactly one outcome later. So, once it is quiet, all outcomes of a datapath add up to what
//! it has received; userspace counts one outcome more, replies that the interface did not take.

use crate::verdict::Reason;

/// What has become of the packets a datapath has seen: [`RECEIVED`], [`ANSWERED`], [`HANDED_UP`],
/// [`PASSED`], [`LIMITED`], then one count per [`Reason`].
pub type Counts = [u64; COUNTERS];

/// How many counters there are.
pub const COUNTERS: usize = REFUSED + Reason::ALL.len();

/// IPv4/UDP packets to port 4011, whatever becomes of them.
pub const RECEIVED: usize = 0;

/// Requests that got their reply.
pub const ANSWERED: usize = 1;

/// Frames given to the next slower path, which counts what becomes of them.
pub const HANDED_UP: usize = 2;

/// Packets to other hosts.
pub const PASSED: usize = 3;

/// Requests of a source that had asked too often, see [`crate::limit`].
pub const LIMITED: usize = 4;

/// The first of the counters of refused requests.
const REFUSED: usize = 5;

/// The counter of requests refused for `reason`.
#[inline(always)]
#[must_use]
pub const fn refused(reason: Reason) -> usize {
    REFUSED + reason as usize
}
