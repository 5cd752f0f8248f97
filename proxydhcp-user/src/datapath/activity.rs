//! What the nodes have done, as all datapaths note it: see [`proxydhcp_common::activity`].
//!
//! The records lie in the map of the XDP program, if there is one, which is pinned like the counters;
//! else in a file beside the control socket. Either outlives a daemon that is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use aya::maps::MapData;
use proxydhcp_common::activity::{
    Moment, Outcome, Record, STRANGERS, Stranger, moment, one_of, pair_of,
};
use proxydhcp_common::judge::Asker;
use proxydhcp_common::nodes::Target;
use rustix::time::ClockId;
use tracing::{debug, warn};

mod memory;
mod numbers;

pub(crate) use memory::records;
pub use memory::{Memory, capacity};

use crate::datapath::xdp::pins::{ACTIVITY, Pins};
use crate::sys::clock;
use crate::tables::followed::Followed;
use crate::tables::table::{Files, Table};

/// The file's name.
const NAME: &str = "activity";

/// The number of strangers that are shown at most: the last ones.
const SHOWN_STRANGERS: usize = 65_536;

/// The records, wherever they lie.
#[derive(Debug)]
pub struct Activity {
    memory: ArcSwap<Memory>,
    /// The numbers that the nodes of these files have, whatever they boot.
    numbered: Mutex<Option<(Weak<Files>, Arc<Followed>)>>,
    /// Where they are kept, unless the XDP program's map keeps them.
    file: Option<PathBuf>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            memory: ArcSwap::from_pointee(Memory::nowhere()),
            numbered: Mutex::default(),
            file: None,
        }
    }
}

impl Activity {
    /// Opens what is kept, with room for so many nodes; `socket` is the control socket.
    pub(crate) fn open(pins: Option<&Pins>, socket: &Path, nodes: usize) -> Self {
        let file = socket.with_file_name(NAME);
        let capacity = capacity(nodes);
        let pinned = pins.and_then(|pins| pinned(pins, capacity));
        let memory = pinned.or_else(|| {
            let opened = Memory::file(&file, capacity);
            opened
                .inspect_err(|error| debug!("{}: {error}", file.display()))
                .ok()
        });
        Self {
            memory: ArcSwap::from_pointee(memory.unwrap_or_else(|| Memory::anonymous(capacity))),
            numbered: Mutex::default(),
            file: Some(file),
        }
    }

    /// The records as they lie now.
    pub fn memory(&self) -> Arc<Memory> {
        self.memory.load_full()
    }

    /// From now on, the records lie in the XDP program's map.
    pub(crate) fn moves_to(&self, memory: Memory) {
        let before = self.memory.load();
        if memory.is_same_map(&before) {
            return;
        }
        memory.take_over(&before);
        self.memory.store(Arc::new(memory));
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
    }

    /// Keeps the records beyond the end of the XDP program.
    pub(crate) fn save(&self) {
        let memory = self.memory.load();
        let Some(file) = self.file.as_ref().filter(|_| memory.is_map()) else {
            return;
        };
        match Memory::file(file, memory.capacity()) {
            Ok(saved) => saved.take_over(&memory),
            Err(error) => warn!(
                "what the nodes have done is not kept: {}: {error}",
                file.display()
            ),
        }
    }

    /// The numbers of a table's nodes: each keeps the one it had.
    pub(crate) fn follow(&self, table: &Table) -> Arc<Followed> {
        let files = table.files();
        let mut numbered = self.numbered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, followed)) = &*numbered
            && of.upgrade().is_some_and(|of| of.has_nodes_of(files))
        {
            let followed = Arc::clone(followed);
            *numbered = Some((Arc::downgrade(files), Arc::clone(&followed)));
            return followed;
        }
        let followed = Arc::new(numbers::give(&self.memory.load(), table));
        *numbered = Some((Arc::downgrade(files), Arc::clone(&followed)));
        followed
    }

    /// Notes what became of a request, on the time `now`.
    pub(crate) fn note(
        memory: &Memory,
        now: Moment,
        asker: &Asker,
        outcome: Outcome,
        architecture: Option<u8>,
    ) {
        if asker.node > Target::ANONYMOUS {
            if let Some(record) = memory.node(asker.node) {
                record.note(now, outcome, architecture);
            }
        } else if asker.node == 0
            && !matches!(outcome, Outcome::Answered | Outcome::Offered)
            && let Some((one, other)) = memory.strangers(pair_of(asker.address))
        {
            let record = one_of(one, other, asker.address);
            record.note_stranger(now, asker.address, asker.mac, outcome);
        }
    }
}

/// The time, to a few milliseconds.
pub fn now() -> Moment {
    moment(nanoseconds())
}

/// Nanoseconds since the machine started, by the clock of moments.
pub(crate) fn nanoseconds() -> u64 {
    clock::nanoseconds(ClockId::MonotonicCoarse)
}

/// The last clients that are no node, the newest first.
pub fn strangers(memory: &Memory, now: Moment) -> Vec<Stranger> {
    let pairs = (0..STRANGERS).step_by(2);
    let records = pairs.filter_map(|pair| memory.strangers(pair));
    let mut all: Vec<_> = records
        .flat_map(|(one, other)| [one, other])
        .filter_map(Record::read_stranger)
        .collect();
    all.sort_unstable_by_key(|it| (now.wrapping_sub(it.last), it.address));
    all.truncate(SHOWN_STRANGERS);
    all
}

/// The records that a killed daemon has left. If there are more nodes now than they are enough for, they
/// are moved to a larger place.
fn pinned(pins: &Pins, capacity: u32) -> Option<Memory> {
    let path = pins.folder().join(ACTIVITY);
    let map = MapData::from_pin(&path).ok()?;
    let left = Memory::of_map(&map)
        .inspect_err(|error| warn!("{}: {error:#}", path.display()))
        .ok()?;
    if left.capacity() >= capacity {
        return Some(left);
    }
    let larger = Memory::anonymous(capacity);
    larger.take_over(&left);
    let _ = fs::remove_file(&path);
    Some(larger)
}
