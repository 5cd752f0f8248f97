//! What each node has asked last, and what it got: one record for each, in memory that kernel and
//! daemon share.
//!
//! A record's place is the node's number, which is in the node's [`Target`](crate::nodes::Target):
//! the line of the node table that every request reads anyway leads to it, and nothing else has to be
//! read. Userspace gives out the numbers, and a node keeps its own across reloads and restarts. The
//! place of the node's entry in its line would not do, because each table has another seed.
//!
//! A record is half a cache line, so an answer writes one line more than without it. It is written
//! without atomic operations, which would cost more than the rest: if two CPUs have requests of one
//! node at the very same time, the record is that of either of them, and one request less is counted.
//! Each word is read and written as a whole, so none is ever half of one and half of another.
//!
//! Behind the nodes' records are those of clients that are no node ([`STRANGERS`]).

use core::sync::atomic::AtomicU64;

use crate::verdict::{Reason, Stop};
use crate::wire::Address;
use crate::words::{high, load, low, store};

/// A point in time, in units of 2^24 ns (17 ms) since the machine started; never 0. It wraps after 834
/// days.
pub type Moment = u32;

/// The moment so many nanoseconds after the machine has started.
#[expect(clippy::cast_possible_truncation, reason = "it wraps")]
#[inline(always)]
#[must_use]
pub const fn moment(nanoseconds: u64) -> Moment {
    (nanoseconds >> 24) as Moment | (nanoseconds >> 24 == 0) as Moment
}

/// A client that asks after so long a silence boots anew: 30 s. Firmware asks again after 3 s at most.
pub const PAUSE: Moment = 1788;

/// The number of records for clients that are no node; a power of two. They are found in pairs by a
/// hash, so there are twice as many as are to be remembered.
pub const STRANGERS: u32 = 1 << 17;

/// The number of strangers that a CPU notes in a [`Moment`] at most: 61,000 a second, which take it a
/// thousandth of its time.
pub const STRANGERS_A_MOMENT: u32 = 1024;

/// What became of a node's last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// Its source had exceeded the rate limit.
    Limited,
    /// It was a DISCOVER, and got an offer.
    Offered,
    /// It was refused.
    Refused(Reason),
}

impl Outcome {
    const REFUSED: u8 = 16;

    /// What becomes of a request that is not answered; `None` if another path decides, or if its source
    /// address says nothing.
    #[inline(always)]
    #[must_use]
    pub const fn of(stop: Stop) -> Option<Self> {
        match stop {
            Stop::Limited => Some(Self::Limited),
            // Of a packet that is broken below UDP, the address may be, too.
            Stop::Refuse(reason) if reason as u32 > Reason::SourceAddress as u32 => {
                Some(Self::Refused(reason))
            }
            Stop::Refuse(_) | Stop::NotOurs | Stop::SlowPath => None,
        }
    }

    #[inline(always)]
    const fn stored(self) -> u8 {
        match self {
            Self::Answered => 1,
            Self::Limited => 2,
            Self::Offered => 3,
            Self::Refused(reason) => Self::REFUSED + reason as u8,
        }
    }

    fn read(stored: u8) -> Option<Self> {
        match stored {
            1 => Some(Self::Answered),
            2 => Some(Self::Limited),
            3 => Some(Self::Offered),
            _ => {
                let reason = Reason::ALL.get(usize::from(stored.checked_sub(Self::REFUSED)?));
                reason.copied().map(Self::Refused)
            }
        }
    }
}

/// A node's record, as it lies in memory.
///
/// | word | lower half | upper half |
/// |---|---|---|
/// | 0 | the moment of the last request | of the last answer |
/// | 1 | of the first request of all | of the first one of this boot |
/// | 2 | the number of requests | 16 bits: of this boot; 8 bits: architecture + 1; 8 bits: outcome |
/// | 3 | 48 bits: bytes sent by TFTP | 8 bits: the kind of file; 8 bits: what became of it |
///
/// Of a stranger:
///
/// | word | lower half | upper half |
/// |---|---|---|
/// | 0 | the moment of the last request | the address, as it lies in memory |
/// | 1 | of the first request | 0 |
/// | 2 | as above | |
/// | 3 | 48 bits: the MAC address of the frame | 0 |
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct Record([AtomicU64; 4]);

impl Record {
    /// A record's size in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// Notes a request of this node. `architecture` is `None` where it is not known.
    #[inline(always)]
    pub fn note(&self, now: Moment, outcome: Outcome, architecture: Option<u8>) {
        let [times, begins, counts, sent] = &self.0;
        let then = load(times);
        let count = load(counts);
        let last = low(then);
        let mut requests = low(count);
        let mut tries = high(count) & 0xffff;
        // The clocks of two CPUs may differ by a moment.
        if last == 0 || now.wrapping_sub(last).cast_signed() > PAUSE.cast_signed() {
            let first = match low(load(begins)) {
                0 => now,
                first => first,
            };
            store(begins, u64::from(now) << 32 | u64::from(first));
            store(sent, 0);
            tries = 0;
        }
        // A DISCOVER is no request.
        if !matches!(outcome, Outcome::Offered) {
            requests = requests.wrapping_add(1);
            tries = (tries + 1) & 0xffff;
        }
        let answered = if matches!(outcome, Outcome::Answered) {
            now
        } else {
            high(then)
        };
        let architecture = match architecture {
            Some(architecture) => u32::from(architecture) + 1,
            None => high(count) >> 16 & 0xff,
        };
        let said = tries | architecture << 16 | u32::from(outcome.stored()) << 24;
        store(times, u64::from(answered) << 32 | u64::from(now));
        store(counts, u64::from(said) << 32 | u64::from(requests));
    }

    /// Whether it is the record of this stranger.
    #[inline(always)]
    #[must_use]
    pub fn is_of(&self, client: Address) -> bool {
        let [times, ..] = &self.0;
        let word = load(times);
        low(word) != 0 && high(word) == u32::from_ne_bytes(client)
    }

    /// When its last request came; 0 if there was none.
    #[inline(always)]
    #[must_use]
    pub fn last(&self) -> Moment {
        let [times, ..] = &self.0;
        low(load(times))
    }

    /// Notes a request of a client that is no node, in place of another client if this is another's
    /// record.
    #[inline(always)]
    pub fn note_stranger(&self, now: Moment, client: Address, mac: [u8; 6], outcome: Outcome) {
        let [times, begins, counts, sent] = &self.0;
        let mut requests = low(load(counts));
        if !self.is_of(client) {
            requests = 0;
            store(begins, u64::from(now));
        }
        let [a, b, c, d, e, f] = mac;
        store(sent, u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        let said = u32::from(outcome.stored()) << 24;
        store(
            counts,
            u64::from(said) << 32 | u64::from(requests.wrapping_add(1)),
        );
        let address = u32::from_ne_bytes(client);
        store(times, u64::from(address) << 32 | u64::from(now));
    }

    /// Notes what the TFTP server does for this node. Nobody else writes to this word but at the
    /// beginning of a boot.
    pub fn note_transfer(&self, transfer: Transfer) {
        let [.., sent] = &self.0;
        store(sent, transfer.stored());
    }

    /// Forgets everything: the record becomes another node's.
    pub fn clear(&self) {
        for word in &self.0 {
            store(word, 0);
        }
    }

    /// Copies another one.
    pub fn copy_from(&self, other: &Self) {
        for (to, from) in self.0.iter().zip(&other.0) {
            store(to, load(from));
        }
    }

    /// What it says; `None` if the node has never asked.
    pub fn read(&self) -> Option<Activity> {
        let [times, begins, counts, sent] = self.words();
        let [outcome, architecture, ..] = high(counts).to_be_bytes();
        (low(times) != 0).then(|| Activity {
            last: low(times),
            answered: Some(high(times)).filter(|it| *it != 0),
            first: low(begins),
            boot: high(begins),
            requests: low(counts),
            tries: high(counts) & 0xffff,
            architecture: architecture.checked_sub(1),
            outcome: Outcome::read(outcome),
            transfer: Transfer::read(sent),
        })
    }

    /// What it says of a stranger; `None` if it is nobody's.
    pub fn read_stranger(&self) -> Option<Stranger> {
        let [times, begins, counts, mac] = self.words();
        let [outcome, ..] = high(counts).to_be_bytes();
        let [_, _, mac @ ..] = mac.to_be_bytes();
        Some(Stranger {
            address: high(times).to_ne_bytes(),
            mac,
            first: low(begins),
            last: Some(low(times)).filter(|it| *it != 0)?,
            requests: low(counts),
            outcome: Outcome::read(outcome)?,
        })
    }

    /// Its words. Userspace keeps some of its own in records that are nobody's.
    #[must_use]
    pub fn words(&self) -> [u64; 4] {
        let [a, b, c, d] = &self.0;
        [load(a), load(b), load(c), load(d)]
    }

    /// Replaces one of them; nothing happens past the last.
    pub fn set_word(&self, index: usize, to: u64) {
        if let Some(word) = self.0.get(index) {
            store(word, to);
        }
    }
}

/// What a node has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// When its last request came.
    pub last: Moment,
    /// When one was last answered.
    pub answered: Option<Moment>,
    /// When its first request of all came.
    pub first: Moment,
    /// When the first request of its last boot came: one after a [`PAUSE`].
    pub boot: Moment,
    /// The number of its requests; it wraps.
    pub requests: u32,
    /// The number of requests in its last boot; it wraps at 65,536.
    pub tries: u32,
    /// The client's architecture in the last request that was understood.
    pub architecture: Option<u8>,
    /// What became of the last request.
    pub outcome: Option<Outcome>,
    /// What the TFTP server has done for it since the boot began.
    pub transfer: Option<Transfer>,
}

/// A client that is no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// Its address.
    pub address: Address,
    /// The source of its last frame: its own MAC address, or a router's.
    pub mac: [u8; 6],
    /// When its first request came that is remembered.
    pub first: Moment,
    /// When its last request came.
    pub last: Moment,
    /// The number of its requests that are remembered; it wraps.
    pub requests: u32,
    /// What became of the last one.
    pub outcome: Outcome,
}

/// What the TFTP server did last for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What kind of file it was.
    pub kind: FileKind,
    /// What has become of it.
    pub state: TransferState,
    /// The bytes of it that the client has; 48 bits.
    pub bytes: u64,
}

/// The kinds of files that clients fetch, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// A boot loader, or anything else that is none of the others.
    Loader = 1,
    /// The boot configuration (BCD).
    Bcd = 2,
    /// An image, the last file of a boot (`.wim`).
    Image = 3,
}

/// What becomes of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferState {
    /// It runs, or ended with the daemon.
    Running = 1,
    /// The client has the whole file.
    Complete = 2,
    /// The client has not got it.
    Failed = 3,
}

impl Transfer {
    const BYTES: u64 = (1 << 48) - 1;

    fn stored(self) -> u64 {
        self.bytes.min(Self::BYTES) | (self.kind as u64) << 48 | (self.state as u64) << 56
    }

    fn read(stored: u64) -> Option<Self> {
        let [state, kind, ..] = stored.to_be_bytes();
        Some(Self {
            kind: match kind {
                1 => FileKind::Loader,
                2 => FileKind::Bcd,
                3 => FileKind::Image,
                _ => return None,
            },
            state: match state {
                1 => TransferState::Running,
                2 => TransferState::Complete,
                3 => TransferState::Failed,
                _ => return None,
            },
            bytes: stored & Self::BYTES,
        })
    }
}

/// The first of the two records that may be this stranger's, among [`STRANGERS`]. Whoever floods a host
/// with requests can choose his addresses; he gains nothing but that others are forgotten sooner.
#[inline(always)]
#[must_use]
pub const fn pair_of(client: Address) -> u32 {
    let number = u32::from_ne_bytes(client).wrapping_mul(0x9e37_79b1);
    (number >> (u32::BITS - STRANGERS.trailing_zeros())) & !1
}

/// The record of a pair in which this stranger is noted: its own, or else the older one.
#[inline(always)]
#[must_use]
pub fn one_of<'r>(one: &'r Record, other: &'r Record, client: Address) -> &'r Record {
    if one.is_of(client) {
        one
    } else if other.is_of(client) || other.last() < one.last() {
        other
    } else {
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Moment = 60;

    #[test]
    fn a_request_after_a_pause_is_another_boot() {
        let record = Record::default();
        assert_eq!(record.read(), None);
        record.note(1000, Outcome::Answered, Some(7));
        record.note(1000 + SECOND, Outcome::Refused(Reason::Options), None);
        let transfer = Transfer {
            kind: FileKind::Image,
            state: TransferState::Complete,
            bytes: 5_000_000_000,
        };
        record.note_transfer(transfer);
        let activity = record.read().unwrap();
        assert_eq!(
            activity,
            Activity {
                last: 1000 + SECOND,
                answered: Some(1000),
                first: 1000,
                boot: 1000,
                requests: 2,
                tries: 2,
                architecture: Some(7),
                outcome: Some(Outcome::Refused(Reason::Options)),
                transfer: Some(transfer),
            }
        );
        let later = 1000 + SECOND + PAUSE + 1;
        record.note(later, Outcome::Answered, Some(0));
        let again = record.read().unwrap();
        assert_eq!((again.first, again.boot, again.last), (1000, later, later));
        assert_eq!((again.requests, again.tries), (3, 1));
        assert_eq!((again.architecture, again.transfer), (Some(0), None));
    }

    #[test]
    fn neither_a_clock_that_is_behind_nor_one_that_wraps_begins_a_boot() {
        let record = Record::default();
        record.note(u32::MAX - 1, Outcome::Answered, None);
        record.note(u32::MAX - 2, Outcome::Answered, None);
        record.note(3, Outcome::Answered, None);
        let activity = record.read().unwrap();
        assert_eq!((activity.boot, activity.tries), (u32::MAX - 1, 3));
    }

    #[test]
    fn an_offer_is_no_request() {
        let record = Record::default();
        record.note(5, Outcome::Offered, Some(7));
        record.note(6, Outcome::Answered, Some(7));
        let activity = record.read().unwrap();
        assert_eq!(
            (activity.first, activity.requests, activity.tries),
            (5, 1, 1)
        );
    }

    #[test]
    fn every_outcome_is_read_as_it_was_written() {
        let refused = Reason::ALL.map(Outcome::Refused);
        let others = [Outcome::Answered, Outcome::Limited, Outcome::Offered];
        for outcome in refused.into_iter().chain(others) {
            assert_eq!(Outcome::read(outcome.stored()), Some(outcome));
        }
        assert_eq!(Outcome::read(0), None);
        assert_eq!(Outcome::read(255), None);
    }

    #[test]
    fn a_stranger_takes_the_place_of_another_and_counts_from_one() {
        let record = Record::default();
        let (one, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let mac = [2, 0, 0, 0, 0, 1];
        let unknown = Outcome::Refused(Reason::Unknown);
        record.note_stranger(7, one, mac, unknown);
        record.note_stranger(9, one, mac, unknown);
        let stranger = record.read_stranger().unwrap();
        assert_eq!((stranger.address, stranger.mac), (one, mac));
        assert_eq!(
            (stranger.first, stranger.last, stranger.requests),
            (7, 9, 2)
        );
        record.note_stranger(11, other, mac, Outcome::Refused(Reason::Short));
        let stranger = record.read_stranger().unwrap();
        assert_eq!(
            (stranger.address, stranger.first, stranger.requests),
            (other, 11, 1)
        );
        assert_eq!(stranger.outcome, Outcome::Refused(Reason::Short));
    }

    #[test]
    fn pairs_are_spread_and_within_bounds() {
        let pairs = (0..=u16::MAX).map(|it| {
            let [a, b] = it.to_be_bytes();
            pair_of([10, 0, a, b])
        });
        let pairs: std::collections::HashSet<_> = pairs.collect();
        assert!(pairs.iter().all(|it| it % 2 == 0 && it + 1 < STRANGERS));
        assert!(pairs.len() > 30_000, "{}", pairs.len());
    }
}
