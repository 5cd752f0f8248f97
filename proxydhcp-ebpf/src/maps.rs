//! The maps, and how the protocol core reads them.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, PerCpuArray, XskMap};
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_map;
use proxydhcp_common::activity::{self, Moment, Outcome, Record, STRANGERS, moment, pair_of};
use proxydhcp_common::counters::{Counted, PLACES, QUEUES, places};
use proxydhcp_common::judge::{Asker, Tables};
use proxydhcp_common::limit::{self, Bucket, Ticks};
use proxydhcp_common::nodes::{Line, Lines, Target};
use proxydhcp_common::source::{Place, Seed, Source};
use proxydhcp_common::template::Template;
use proxydhcp_common::verdict::Stop;

use crate::table::{MAPPABLE, Table};

/// The node table in service: replacing this one entry is a reload.
#[btf_map]
static NODES: ArrayOfMaps<NodeTable, 1> = ArrayOfMaps::new();

/// The templates, in two banks: those of the table in service and those of the next.
#[btf_map]
static TEMPLATES: ArrayOfMaps<Table<Template, { Template::SIZE }>, 2> = ArrayOfMaps::new();

/// What has become of the requests, by interface.
#[btf_map]
static COUNTERS: PerCpuArray<Counted, { PLACES as usize }> = PerCpuArray::new();

/// When each source may ask again. It is mappable for the sake of its alignment: a line is then one
/// cache line. The last line is for userspace, which keeps [`SEED`] there.
#[btf_map]
static LIMITS: Array<limit::Line, { limit::TABLE as usize }, MAPPABLE> = Array::new();

/// The sockets of the `af-xdp` datapath: by the interface's place in [`COUNTERS`], and queue.
#[btf_map]
static SOCKETS: XskMap<{ (PLACES * QUEUES) as usize }> = XskMap::new();

/// What each node has done, by its number, and behind that, from [`OTHERS`] on, clients that are no node.
/// The loader sets its size, and others read it as it is written.
#[btf_map]
static ACTIVITY: Array<Record, { STRANGERS as usize }, MAPPABLE> = Array::new();

/// The number of records that are nodes'. The loader sets it before the program is loaded.
#[unsafe(no_mangle)]
static OTHERS: u32 = 0;

/// What the places of buckets depend on. The loader sets it before the program is loaded.
#[unsafe(no_mangle)]
static SEED: Seed = Seed([0; 4]);

/// Until when the program answers, in nanoseconds since the machine started: the daemon puts it off
/// for as long as it lives. It is mappable, so that this takes no system call.
#[btf_map]
static DEADLINE: Array<u64, 1, MAPPABLE> = Array::new();

/// A node table's lines in its map.
type NodeTable = Table<Line, { Line::SIZE }>;

impl Lines for NodeTable {
    #[inline(always)]
    fn line(&self, index: u32) -> Option<&Line> {
        self.get(index)
    }
}

/// The tables in service, for one run of the program.
pub(crate) struct Maps {
    /// The time, in nanoseconds since the machine started.
    now: u64,
    /// This CPU's counters.
    counted: *mut Counted,
}

impl Maps {
    /// The tables, unless nobody has updated them for so long that the program should not answer.
    #[inline(always)]
    pub(crate) fn in_time(tally: &Tally) -> Option<Self> {
        let now = tally.nanoseconds();
        let deadline: *const u64 = DEADLINE.get(0)?;
        // SAFETY: the pointer is to the map's word, which others only replace as a whole.
        let deadline = unsafe { core::ptr::read_volatile(deadline) };
        let counted = tally.counted;
        (now < deadline).then_some(Self { now, counted })
    }

    /// Whether one more stranger is to be noted. There are so many per CPU and moment at most: a flood
    /// must not cost the answers any time.
    #[inline(always)]
    fn has_time_for_strangers(&self) -> bool {
        // SAFETY: the pointer is to this CPU's own counters, which XDP does not interrupt.
        let counted = unsafe { &mut *self.counted };
        if counted.noted >= u64::from(activity::STRANGERS_A_MOMENT) {
            counted.unnoted += 1;
            return false;
        }
        counted.noted += 1;
        true
    }

    /// Notes a request of a client that is no node: in its own record, or else in the older one of the
    /// pair.
    #[inline(always)]
    fn note_stranger(&self, asker: &Asker, outcome: Outcome, now: Moment) -> Option<()> {
        // SAFETY: it is there, and nobody writes to it.
        let others = unsafe { core::ptr::read_volatile(&raw const OTHERS) };
        let pair = others.wrapping_add(pair_of(asker.address));
        let (one, other) = (ACTIVITY.get(pair)?, ACTIVITY.get(pair.wrapping_add(1))?);
        let record = activity::one_of(one, other, asker.address);
        record.note_stranger(now, asker.address, asker.mac, outcome);
        Some(())
    }
}

impl Tables for Maps {
    type Lines = NodeTable;

    #[inline(always)]
    fn nodes(&self) -> Option<&NodeTable> {
        NODES.get(0)
    }

    #[inline(always)]
    fn template(&self, bank: u32, number: u32) -> Option<&Template> {
        TEMPLATES.get(bank)?.get(number)
    }

    #[inline(always)]
    fn bucket(&self, source: &Source) -> Result<Option<Bucket<'_>>, Stop> {
        // SAFETY: it is there, and nobody writes to it.
        let seed = unsafe { core::ptr::read_volatile(&raw const SEED) };
        let Place { line, key } = seed.place(source);
        // It is always there. Without it the program ends, which halves the verifier's ways.
        let line = LIMITS.get(line).ok_or(Stop::SlowPath)?;
        Ok(Some(Bucket::new(line, key)))
    }

    #[inline(always)]
    fn now(&self) -> Ticks {
        limit::ticks(self.now)
    }

    #[inline(always)]
    fn note(&self, asker: Asker, outcome: Outcome, architecture: Option<u8>) {
        let now = moment(self.now);
        if asker.node > Target::ANONYMOUS {
            if let Some(record) = ACTIVITY.get(asker.node) {
                record.note(now, outcome, architecture);
            }
        } else if asker.node == 0
            && !matches!(outcome, Outcome::Answered)
            && self.has_time_for_strangers()
        {
            let _ = self.note_stranger(&asker, outcome, now);
        }
    }
}

/// This CPU's counters of one interface, for one run of the program.
pub(crate) struct Tally {
    counted: *mut Counted,
    place: u32,
}

impl Tally {
    /// Those of the interface with this number, if it is served.
    #[inline(always)]
    pub(crate) fn of(interface: u32) -> Option<Self> {
        for place in places(interface) {
            let counted = COUNTERS.get_ptr_mut(place)?;
            // SAFETY: the pointer is to a place of the map.
            if unsafe { (*counted).interface } == u64::from(interface) {
                return Some(Self { counted, place });
            }
        }
        None
    }

    /// The time since the machine started, in nanoseconds, as exact as the timer tick. The clock is
    /// read once in a tick: that takes as long as a tenth of an answer, and the number of the tick
    /// nothing.
    #[inline(always)]
    fn nanoseconds(&self) -> u64 {
        // SAFETY: it takes nothing and returns a number.
        let jiffy = unsafe { bpf_jiffies64() };
        // SAFETY: the pointer is to this CPU's own counters, which XDP does not interrupt.
        let counted = unsafe { &mut *self.counted };
        if counted.jiffy != jiffy {
            // SAFETY: as above.
            let now = unsafe { bpf_ktime_get_ns() };
            if moment(counted.nanoseconds) != moment(now) {
                counted.noted = 0;
            }
            counted.jiffy = jiffy;
            counted.nanoseconds = now;
        }
        counted.nanoseconds
    }

    /// Adds one to a counter.
    #[inline(always)]
    pub(crate) fn add(&self, counter: usize) {
        // SAFETY: the pointer is to this CPU's own counters, which XDP does not interrupt.
        if let Some(count) = unsafe { (*self.counted).counts.get_mut(counter) } {
            *count += 1;
        }
    }

    /// The action that gives the packet to the socket of `queue`, or lets it pass where there is
    /// none.
    #[inline(always)]
    pub(crate) fn to_socket(&self, queue: u32) -> u32 {
        if queue >= QUEUES {
            return XDP_PASS;
        }
        match SOCKETS.redirect(self.place * QUEUES + queue, XDP_PASS.into()) {
            Ok(action) | Err(action) => action,
        }
    }
}
