//! The node table: finds the WinPE for a client's address, within one cache line.
//!
//! The table is an array of 64-byte lines. Line 0 is the header; the others are the buckets of an
//! open-addressing hash table, a power of two in number, with eight entries each. An address is in
//! its own bucket or, if that is full, in the next one. The table is built once (in user space) and
//! never changed: a reload installs another one.
//!
//! It is not a BPF hash map, because that would cost a system call for each node at a reload, some
//! 70 bytes more per node, and two dependent cache misses at each request instead of one.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::hash::hash;
use crate::limit::Limit;
use crate::template::Loader;

/// The number of entries in a bucket.
pub const SLOTS: usize = 8;

/// The number of buckets searched for one address: its own and the next.
pub const PROBES: u32 = 2;

/// One cache line of the table.
///
/// A bucket's entry `i` is `keys[i]`, an IPv4 address in network byte order as it lies in memory,
/// and `targets[i]`, a [`Target`] or 0 for "no entry"; entries are filled from the front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(64))]
pub struct Line {
    /// The entries' addresses.
    pub keys: [u32; SLOTS],
    /// The meaning of each address.
    pub targets: [u32; SLOTS],
}

impl Line {
    /// A line's size in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// The target of `key` as it is stored, or 0.
    ///
    /// All entries are compared, without a branch: nobody could predict which one matches, and
    /// while the line is on its way from memory, the processor continues with the rest of the
    /// request.
    #[inline(always)]
    fn entry(&self, key: u32) -> u32 {
        let mut entry = 0;
        for (&at, &target) in self.keys.iter().zip(&self.targets) {
            entry |= target & ones_if_zero(at ^ key);
        }
        entry
    }

    /// The target of `key` as it is stored, or 0, by a search that ends where the key is found:
    /// this is faster than [`Line::entry`] for the few keys that are sought all the time.
    #[inline(always)]
    fn first(&self, key: u32) -> u32 {
        for (&at, &target) in self.keys.iter().zip(&self.targets) {
            if at == key || target == 0 {
                return target;
            }
        }
        0
    }
}

/// The number of client architectures that can have a loader: 0 to 47 of IANA's "Processor
/// Architecture Types" (RFC 4578, section 2.1, began the list).
pub const ARCHITECTURES: usize = 48;

/// The largest number of loaders: an architecture's loader takes four bits.
pub const LOADERS: usize = 15;

/// The loader of each architecture, two in a byte: its number plus one, or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(transparent)]
pub struct LoaderNumbers([u8; ARCHITECTURES / 2]);

impl LoaderNumbers {
    /// Sets an architecture's loader. An architecture past [`ARCHITECTURES`], or one whose loader is
    /// past [`LOADERS`], has none.
    pub fn set(&mut self, architecture: usize, loader: Loader) {
        if let Some(pair) = self.0.get_mut(architecture / 2)
            && usize::from(loader.0) < LOADERS
        {
            let shift = architecture % 2 * 4;
            *pair = *pair & !(0xf << shift) | (loader.0 + 1) << shift;
        }
    }

    #[inline(always)]
    fn get(&self, architecture: u16) -> Option<Loader> {
        let pair = self.0.get(usize::from(architecture / 2))?;
        let number = pair >> (architecture % 2 * 4) & 0xf;
        Some(Loader(number.checked_sub(1)?))
    }
}

/// The first line of a table, with the values that all nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(64))]
pub struct Header {
    /// The number of buckets, a power of two, less one.
    pub mask: u32,
    /// The target of clients without an entry; 0 if they are refused.
    pub unknown: u32,
    /// The table's seed: see [`hash`](crate::hash::hash).
    pub seed: u64,
    /// The loader of each architecture; clients of one without a loader are refused.
    pub loaders: LoaderNumbers,
    /// The number of loaders: each WinPE has two templates for each.
    pub loader_count: u8,
    /// 1 if replies echo the UUID (option 97) and the boot item (in option 43) of requests; 0 if
    /// they never do.
    pub echoes: u8,
    /// The rate limit for each source: see [`Limit`].
    pub interval: u16,
    /// The number of answers that a source gets at once: see [`Limit`].
    pub whole: u32,
    /// 1 if clients of other vendor classes than `PXEClient` are served, too, by the slow path; else 0.
    pub other_classes: u8,
    /// Unused, zero.
    pub reserved: [u8; 15],
}

impl Header {
    /// The header as a line of the table.
    #[must_use]
    pub fn line(self) -> Line {
        zerocopy::transmute!(self)
    }
}

/// The meaning of an address: one of this host's own addresses, or a node with its WinPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(u32);

impl Target {
    const PRESENT: u32 = 1 << 31;
    const NO_NODE: u32 = 1 << 30;
    const BANK: u32 = 1 << 29;

    /// The largest number of a WinPE that an entry can hold.
    pub const MAX_WINPE: u32 = Self::BANK - 1;

    /// An address of this host.
    pub const HOST: Self = Self(Self::PRESENT | Self::NO_NODE);

    /// A client that must be refused.
    pub const DENIED: Self = Self(Self::PRESENT | Self::NO_NODE | 1);

    /// A client that user space should look up: the fast path hands its requests up.
    pub const ASK: Self = Self(Self::PRESENT | Self::NO_NODE | 2);

    /// A node that boots WinPE number `winpe`, whose templates are in `bank` (0 or 1).
    ///
    /// Consecutive generations of the tables use alternate banks, so that a request finds the
    /// templates that its node entry was made with, whatever is being installed meanwhile.
    #[must_use]
    pub const fn node(winpe: u32, bank: u32) -> Self {
        Self(Self::PRESENT | ((bank & 1) * Self::BANK) | (winpe & Self::MAX_WINPE))
    }

    /// The number that stands for this target in a [`Line`]; never 0.
    #[must_use]
    pub const fn stored(self) -> u32 {
        self.0
    }

    /// The WinPE's number.
    #[inline(always)]
    #[must_use]
    pub const fn winpe(self) -> u32 {
        self.0 & Self::MAX_WINPE
    }

    /// The bank of its templates, 0 or 1.
    #[inline(always)]
    #[must_use]
    pub const fn bank(self) -> u32 {
        (self.0 / Self::BANK) & 1
    }
}

/// Gives access to the lines of a table, in a BPF map or in memory.
pub trait Lines {
    /// Line number `index`, or `None` past the end.
    fn line(&self, index: u32) -> Option<&Line>;
}

impl Lines for [Line] {
    fn line(&self, index: u32) -> Option<&Line> {
        self.get(usize::try_from(index).ok()?)
    }
}

/// A node table, opened for searching.
#[derive(Debug)]
pub struct Nodes<'t, L: ?Sized> {
    lines: &'t L,
    header: &'t Header,
}

impl<'t, L: Lines + ?Sized> Nodes<'t, L> {
    /// Opens the table that `lines` holds; `None` if it has no header.
    #[inline(always)]
    pub fn open(lines: &'t L) -> Option<Self> {
        let header = zerocopy::transmute_ref!(lines.line(0)?);
        Some(Self { lines, header })
    }

    /// Whether `address` is one of this host's own.
    #[inline(always)]
    pub fn is_local(&self, address: [u8; 4]) -> bool {
        self.search(address, Line::first) == Target::HOST.0
    }

    /// The table's information about the client at `address`.
    #[inline(always)]
    pub fn client(&self, address: [u8; 4]) -> Client {
        let entry = self.search(address, Line::entry);
        Client(entry | (self.header.unknown & ones_if_zero(entry)))
    }

    /// The loader for clients of this architecture; `None` if there is none.
    #[inline(always)]
    pub fn loader(&self, architecture: u16) -> Option<Loader> {
        self.header.loaders.get(architecture)
    }

    /// Whether replies echo the UUID and the boot item of requests.
    #[inline(always)]
    pub fn echoes(&self) -> bool {
        self.header.echoes != 0
    }

    /// Whether clients of other vendor classes than `PXEClient` are served.
    #[inline(always)]
    pub fn has_other_classes(&self) -> bool {
        self.header.other_classes != 0
    }

    /// The rate limit for each source.
    #[inline(always)]
    pub fn limit(&self) -> Limit {
        Limit {
            interval: self.header.interval,
            whole: self.header.whole,
        }
    }

    /// The number of a template within its bank.
    #[inline(always)]
    pub fn template(&self, winpe: u32, loader: Loader, uuid: bool) -> u32 {
        winpe
            .wrapping_mul(u32::from(self.header.loader_count))
            .wrapping_add(u32::from(loader.0))
            .wrapping_mul(2)
            .wrapping_add(u32::from(uuid))
    }

    /// The target of `address` as it is stored, or 0; `entry` searches each line.
    #[inline(always)]
    fn search(&self, address: [u8; 4], entry: impl Fn(&Line, u32) -> u32) -> u32 {
        let key = u32::from_ne_bytes(address);
        let first = hash(address, self.header.seed);
        for probe in 0..PROBES {
            let index = first.wrapping_add(probe) & self.header.mask;
            let Some(line) = self.lines.line(index.wrapping_add(1)) else {
                return 0;
            };
            let entry = entry(line, key);
            if entry != 0 || line.targets[SLOTS - 1] == 0 {
                return entry;
            }
        }
        0
    }
}

/// All ones for 0, and 0 for everything else.
#[inline(always)]
const fn ones_if_zero(number: u32) -> u32 {
    ((number as u64).wrapping_sub(1) >> 32) as u32
}

/// The table's information about a client, which may be a node or not.
#[derive(Clone, Copy, Debug)]
pub struct Client(u32);

impl Client {
    /// The node, or the target of clients that are no node; `None` if the client gets no answer.
    #[inline(always)]
    #[must_use]
    pub const fn node(self) -> Option<Target> {
        if self.0 & (Target::PRESENT | Target::NO_NODE) == Target::PRESENT {
            Some(Target(self.0))
        } else {
            None
        }
    }

    /// Whether user space should look it up.
    #[inline(always)]
    #[must_use]
    pub const fn is_to_be_looked_up(self) -> bool {
        self.0 == Target::ASK.0
    }
}
