//! Until when the XDP program answers: so long does it outlive a daemon that is killed.
//!
//! It is one word beside the tables, which never change once built: nanoseconds of the clock that the
//! program reads, `CLOCK_MONOTONIC`. They fill 64 bits, so that they never wrap.
//!
//! The map's memory is a file's to Linux, and stays mapped when the map is pinned, adopted or has
//! lost its name.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use rustix::time::ClockId;

use crate::sys::clock;

/// The map with the deadline.
pub(super) const MAP: &str = "DEADLINE";

/// The deadline of a program for which there is none.
const NEVER: u64 = u64::MAX;

/// A program's deadline.
#[derive(Clone, Debug)]
pub struct Deadline(Arc<MmapRaw>);

impl Deadline {
    /// That of the program with this map.
    ///
    /// # Errors
    ///
    /// If the map's memory cannot be reached.
    pub(super) fn of(map: &MapData) -> Result<Self> {
        let memory = MmapOptions::new()
            .len(size_of::<u64>())
            .map_raw(map.fd().as_fd().as_raw_fd())
            .context("cannot reach the memory of the program's deadline")?;
        Ok(Self(Arc::new(memory)))
    }

    /// That of the program with the map that is pinned at `path`.
    ///
    /// # Errors
    ///
    /// If there is no such map, or no right to it.
    pub(super) fn pinned(path: &Path) -> Result<Self> {
        Self::of(&MapData::from_pin(path)?)
    }

    /// Ends in `time` from now; `None`: never.
    pub(crate) fn set(&self, time: Option<Duration>) {
        let time = time.map_or(NEVER, |time| now().saturating_add(nanoseconds(time)));
        self.word().store(time, Ordering::Relaxed);
    }

    /// Ends never, if it has not been set yet.
    pub(super) fn set_first(&self) {
        let _ = self
            .word()
            .compare_exchange(0, NEVER, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the program no longer answers.
    pub(crate) fn is_over(&self) -> bool {
        self.word().load(Ordering::Relaxed) <= now()
    }

    /// How long the program goes on answering; `None`: for ever.
    pub(crate) fn left(&self) -> Option<Duration> {
        let until = self.word().load(Ordering::Relaxed);
        (until != NEVER).then(|| Duration::from_nanos(until.saturating_sub(now())))
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping is a page, so it is aligned and larger than a word, and lives as long
        // as `self`. Other processes and the program only ever access the word as a whole.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().cast()) }
    }
}

/// The time since the machine started, without that in which it slept.
fn now() -> u64 {
    clock::nanoseconds(ClockId::Monotonic)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}
