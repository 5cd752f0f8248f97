//! The node table: finds the WinPE for a client's address, within one cache line.
//!
//! The table is an array of 64-byte lines. Line 0 is the header; the others are the buckets of an
//! open-addressing hash table, a power of two in number, with eight entries each. An address is in
//! its own bucket or, if that is full, in the next one. The table is built once (in user space) and
//! never changed: a reload installs another one.
//!
//! Behind these buckets lie those of the hardware addresses, if there are any: see [`HardwareLine`].
//! Whether there are is in the header, which is read anyway.
//!
//! It is not a BPF hash map, because that would cost a system call for each node at a reload, some
//! 70 bytes more per node, and two dependent cache misses at each request instead of one.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::hash::{hardware_hash, hash, mac_key, uuid_key};
use crate::limit::Limit;
use crate::template::Loader;
use crate::wire::Address;

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

/// The number of entries in a bucket of hardware addresses.
pub const HARDWARE_SLOTS: usize = 5;

/// A bucket of hardware addresses, which is one cache line, too.
///
/// Entry `i` is `keys[i]`, a [`Hardware::key`], and `targets[i]`, a [`Target`] or 0 for "no entry";
/// entries are filled from the front. A key is in its own bucket or, if that is full, in the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(64))]
pub struct HardwareLine {
    /// The entries' keys.
    pub keys: [u64; HARDWARE_SLOTS],
    /// The meaning of each key.
    pub targets: [u32; HARDWARE_SLOTS],
    /// Unused, zero.
    pub reserved: u32,
}

impl HardwareLine {
    /// The bucket as a line of the table.
    #[must_use]
    pub fn line(self) -> Line {
        zerocopy::transmute!(self)
    }
}

/// What a machine is known by, besides its IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hardware {
    /// The address of a network card.
    Mac([u8; 6]),
    /// The UUID as option 97 has it, behind its type.
    Uuid([u8; 16]),
}

impl Hardware {
    /// The number that stands for it in a table with this seed; never 0.
    #[must_use]
    pub fn key(&self, seed: u64) -> u64 {
        match self {
            Self::Mac(mac) => mac_key(*mac),
            Self::Uuid(uuid) => uuid_key(uuid, seed),
        }
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
    /// What else holds for all: see [`flags`].
    pub flags: u8,
    /// The rate limit for each source: see [`Limit`].
    pub interval: u16,
    /// The number of answers that a source gets at once: see [`Limit`].
    pub whole: u32,
    /// The number of bits of a target that hold the WinPE's number: see [`Target::node`].
    pub winpe_bits: u8,
    /// The number of buckets of hardware addresses as a power of two, at least 1; 0 if there are no
    /// hardware addresses.
    pub hardware_bits: u8,
    /// Unused, zero.
    pub reserved: [u8; 2],
    /// The first of this host's addresses, which need not be searched for, because a host's clients ask one
    /// as a rule; 0.0.0.0 if it has none.
    pub host: Address,
    /// The seed of the hardware addresses: see [`Hardware::key`].
    pub hardware_seed: u64,
}

/// The bits of [`Header::flags`].
pub mod flags {
    /// Replies echo the UUID (option 97) and the boot item (in option 43) of requests. Otherwise they never
    /// do.
    pub const ECHOES: u8 = 1;
    /// Clients of other vendor classes than `PXEClient` are served, too, by the slow path.
    pub const OTHER_CLASSES: u8 = 1 << 1;
    /// There are UUIDs among the hardware addresses.
    pub const UUIDS: u8 = 1 << 2;
    /// The numbers of nodes are the places of their records: see [`Nodes::number`](super::Nodes::number).
    pub const FOLLOWS: u8 = 1 << 3;
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

    /// The number of bits for a WinPE's number and a node's.
    pub const BITS: u8 = 29;

    /// The largest number of a WinPE that an entry can hold, if it holds no node's number.
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

    /// The same target, of the node that has the number `node`, where WinPEs' numbers have `winpe_bits`.
    /// Two targets with numbers above [`Target::ANONYMOUS`] are the same if and only if their nodes are.
    /// `None` if there are not enough bits.
    ///
    /// The number 0 stands for a client without a record, and [`Target::ANONYMOUS`] for any node that has
    /// neither a hardware address nor a record of its [`activity`](crate::activity).
    #[must_use]
    pub fn numbered(self, node: u32, winpe_bits: u8) -> Option<Self> {
        let number = node.checked_shl(winpe_bits.into())?;
        let is_whole = number >> winpe_bits == node && number <= Self::MAX_WINPE;
        is_whole.then_some(Self(self.0 | number))
    }

    /// The number of nodes that need none of their own.
    pub const ANONYMOUS: u32 = 1;

    /// The WinPE's number, which has `bits` bits.
    #[inline(always)]
    #[must_use]
    pub const fn winpe(self, bits: u8) -> u32 {
        self.0 & ((1 << (bits & 31)) - 1)
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

    #[inline(always)]
    fn has(&self, flag: u8) -> bool {
        self.header.flags & flag != 0
    }

    /// Whether `address` is one of this host's own.
    #[inline(always)]
    pub fn is_local(&self, address: Address) -> bool {
        let host = self.header.host;
        address == host && host != [0; 4] || self.search(address, Line::first) == Target::HOST.0
    }

    /// The table's information about the client at `address`, as far as its address tells.
    #[inline(always)]
    pub fn client(&self, address: [u8; 4]) -> Client {
        self.or_unknown(self.entry(address))
    }

    /// What is stored for `address`, or 0. See [`Nodes::identify`].
    #[inline(always)]
    pub(crate) fn entry(&self, address: [u8; 4]) -> u32 {
        self.search(address, Line::entry)
    }

    #[inline(always)]
    fn or_unknown(&self, entry: u32) -> Client {
        Client(entry | (self.header.unknown & ones_if_zero(entry)))
    }

    /// Whether there are any hardware addresses.
    #[inline(always)]
    pub fn has_hardware(&self) -> bool {
        self.header.hardware_bits != 0
    }

    /// The WinPE of a node.
    #[inline(always)]
    pub fn winpe(&self, target: Target) -> u32 {
        target.winpe(self.header.winpe_bits)
    }

    /// The client with this hardware address, else with this UUID, if one has it.
    pub fn known(&self, mac: Option<[u8; 6]>, uuid: Option<&[u8; 16]>) -> Option<Client> {
        let known = self.hardware(mac, uuid);
        (known != 0).then_some(Client(known))
    }

    /// What becomes of clients without an entry.
    pub fn unknown(&self) -> Client {
        Client(self.header.unknown)
    }

    /// What is stored for a hardware address, else for a UUID, or 0.
    #[inline(always)]
    fn hardware(&self, mac: Option<[u8; 6]>, uuid: Option<&[u8; 16]>) -> u32 {
        if !self.has_hardware() {
            return 0;
        }
        let mut known = 0;
        if let Some(mac) = mac {
            known = self.search_hardware(mac_key(mac));
        }
        if known == 0
            && self.has(flags::UUIDS)
            && let Some(uuid) = uuid
        {
            known = self.search_hardware(uuid_key(uuid, self.header.hardware_seed));
        }
        known
    }

    /// The client for whose address `entry` is stored, which has this hardware address, else this UUID.
    ///
    /// # Errors
    ///
    /// If its address is that of one node, and its hardware address or UUID that of another:
    /// [`Conflict`].
    #[inline(always)]
    pub(crate) fn identify(
        &self,
        entry: u32,
        mac: Option<[u8; 6]>,
        uuid: Option<&[u8; 16]>,
    ) -> Result<Client, Conflict> {
        if !self.has_hardware() {
            return Ok(self.or_unknown(entry));
        }
        let known = self.hardware(mac, uuid);
        // A node's number, or that it is none.
        let numbers = Target::MAX_WINPE & !((1 << (self.header.winpe_bits & 31)) - 1);
        if known == 0 {
            Ok(self.or_unknown(entry))
        } else if entry & (numbers | Target::NO_NODE) == 0 || entry == known {
            // Nothing is known of its address, or that no record has it, or the same.
            Ok(Client(known))
        } else {
            Err(Conflict)
        }
    }

    /// The target of a hardware address as it is stored, or 0.
    #[inline(always)]
    fn search_hardware(&self, key: u64) -> u32 {
        let bits = self.header.hardware_bits;
        let first = hardware_hash(key, self.header.hardware_seed, bits);
        let start = self.header.mask.wrapping_add(2);
        for probe in 0..PROBES {
            let bucket = first.wrapping_add(probe) & ((1 << (bits & 31)) - 1);
            let Some(line) = self.lines.line(start.wrapping_add(bucket)) else {
                return 0;
            };
            let line: &HardwareLine = zerocopy::transmute_ref!(line);
            let mut entry = 0;
            for (&at, &target) in line.keys.iter().zip(&line.targets) {
                if at == key {
                    entry = target;
                }
            }
            if entry != 0 || line.targets[HARDWARE_SLOTS - 1] == 0 {
                return entry;
            }
        }
        0
    }

    /// The place of the record of this node's [`activity`](crate::activity), for which `stored` is stored:
    /// 0 if it is no node, and [`Target::ANONYMOUS`] if it is one that has none.
    #[inline(always)]
    pub fn number(&self, stored: u32) -> u32 {
        if stored & (Target::PRESENT | Target::NO_NODE) != Target::PRESENT {
            0
        } else if !self.has(flags::FOLLOWS) {
            Target::ANONYMOUS
        } else {
            (stored & Target::MAX_WINPE) >> (self.header.winpe_bits & 31)
        }
    }

    /// The same, of the node whose address it is.
    pub fn number_of(&self, address: [u8; 4]) -> u32 {
        self.number(self.entry(address))
    }

    /// The loader for clients of this architecture; `None` if there is none.
    #[inline(always)]
    pub fn loader(&self, architecture: u16) -> Option<Loader> {
        self.header.loaders.get(architecture)
    }

    /// Whether replies echo the UUID and the boot item of requests.
    #[inline(always)]
    pub fn echoes(&self) -> bool {
        self.has(flags::ECHOES)
    }

    /// Whether clients of other vendor classes than `PXEClient` are served.
    #[inline(always)]
    pub fn has_other_classes(&self) -> bool {
        self.has(flags::OTHER_CLASSES)
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

/// A client's address is that of one node, its hardware address that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

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
