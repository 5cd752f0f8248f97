//! The memory with the records. All `unsafe` of it is here.
//!
//! ```text
//! 0, 1           unused: these are no numbers of nodes; word 0 says which layout it is
//! 2..capacity    the nodes, by their numbers
//! ..+STRANGERS   clients that are no node
//! ..+capacity/4  whose number each is: a word for each, which stands for the node's name
//! ```
//!
//! Safety: the memory is a mapping of a BPF map, of a file that nobody but this user may change, or of
//! nothing, and lives as long as [`Memory`]. It is only ever accessed by words that are read and written
//! as a whole, here, by the XDP program, and by a daemon that was killed. Only a file can become
//! shorter, by the hand of root alone.

use std::fs::OpenOptions;
use std::io::{self, Error};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::MapData;
use memmap2::{MmapMut, MmapOptions, MmapRaw};
use nix::fcntl::OFlag;
use proxydhcp_common::activity::{Activity, Moment, Record, STRANGERS};
use rustix::process::geteuid;

use crate::datapath::xdp::pins::LAYOUT;
use crate::sys::trusted::TrustedFolder;

/// The least and the most nodes that there is room for.
const LEAST: u32 = 1 << 17;
const MOST: u32 = 1 << 20;

/// The records for keys of nodes take a quarter of those of nodes.
const KEYS_A_RECORD: u32 = 4;

/// The room for so many nodes: some may come before the next start.
#[must_use]
pub fn capacity(nodes: usize) -> u32 {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let roomy = nodes.saturating_add(nodes / 2).min(MOST);
    roomy.next_power_of_two().clamp(LEAST, MOST)
}

/// The number of records in all, for a capacity.
pub(crate) fn records(capacity: u32) -> u32 {
    capacity + STRANGERS + capacity / KEYS_A_RECORD
}

/// The memory.
#[derive(Debug)]
pub struct Memory {
    /// `None`: there is none.
    mapped: Option<MmapRaw>,
    capacity: u32,
    /// The kernel's number for the map that it is.
    map: Option<u32>,
}

impl Memory {
    /// No memory at all: nobody is followed.
    pub(crate) const fn nowhere() -> Self {
        Self {
            mapped: None,
            capacity: 0,
            map: None,
        }
    }

    /// Memory that ends with this process.
    pub(super) fn anonymous(capacity: u32) -> Self {
        let len = records(capacity) as usize * Record::SIZE;
        Self {
            mapped: MmapMut::map_anon(len).ok().map(MmapRaw::from),
            capacity,
            map: None,
        }
    }

    /// That of a map of the XDP program.
    ///
    /// # Errors
    ///
    /// If it has another form, or cannot be reached.
    pub(crate) fn of_map(map: &MapData) -> Result<Self> {
        let info = map.info()?;
        let (entries, size) = (info.max_entries(), info.value_size() as usize);
        let capacity = entries.saturating_sub(STRANGERS) / (KEYS_A_RECORD + 1) * KEYS_A_RECORD;
        anyhow::ensure!(
            size == Record::SIZE && capacity >= LEAST && records(capacity) == entries,
            "it has {entries} records of {size} bytes, which is another form"
        );
        let mapped = MmapOptions::new()
            .len(entries as usize * Record::SIZE)
            .map_raw(map.fd().as_fd().as_raw_fd())
            .context("cannot reach the memory of the nodes' records")?;
        Ok(Self {
            mapped: Some(mapped),
            capacity,
            map: Some(info.id()),
        })
    }

    /// That of a file, which is made if it is missing, and begun anew if it is of another layout.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or others may change it.
    pub(super) fn file(path: &Path, capacity: u32) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        TrustedFolder::follow(folder).map_err(Error::other)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // Not a link, and no FIFO that would be waited for.
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(path)?;
        let metadata = file.metadata()?;
        let is_ours = metadata.is_file()
            && metadata.uid() == geteuid().as_raw()
            && metadata.mode() & 0o022 == 0
            && metadata.nlink() == 1;
        if !is_ours {
            return Err(Error::other("others may change it; remove it"));
        }
        // A file of another length holds another number of nodes. What is added to it is zeros, and takes
        // no memory until it is written to.
        let of_file = |len: u64| {
            let entries = u32::try_from(len / Record::SIZE as u64).unwrap_or_default();
            let capacity = entries.saturating_sub(STRANGERS) / (KEYS_A_RECORD + 1) * KEYS_A_RECORD;
            let is_whole = u64::from(records(capacity)) * Record::SIZE as u64 == len;
            (is_whole && capacity >= LEAST).then_some(capacity)
        };
        let before = of_file(metadata.len());
        let map = |capacity: u32| {
            let len = records(capacity) as usize * Record::SIZE;
            let mapped = MmapOptions::new().len(len).map_raw(&file)?;
            io::Result::Ok(Self {
                mapped: Some(mapped),
                capacity,
                map: None,
            })
        };
        let length = u64::from(records(capacity)) * Record::SIZE as u64;
        let left = before.map(map).transpose()?.filter(Self::is_of_this_layout);
        match left {
            Some(left) if left.capacity >= capacity => return Ok(left),
            Some(left) => {
                let kept = Self::anonymous(capacity);
                kept.take_over(&left);
                drop(left);
                file.set_len(0)?;
                file.set_len(length)?;
                let larger = map(capacity)?;
                larger.take_over(&kept);
                larger.sign();
                return Ok(larger);
            }
            None => {}
        }
        file.set_len(0)?;
        file.set_len(length)?;
        let fresh = map(capacity)?;
        fresh.sign();
        Ok(fresh)
    }

    fn is_of_this_layout(&self) -> bool {
        self.record(0)
            .is_some_and(|record| record.words().first() == Some(&u64::from(LAYOUT)))
    }

    fn sign(&self) {
        if let Some(record) = self.record(0) {
            record.set_word(0, LAYOUT.into());
        }
    }

    /// The number that is past those of nodes.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The record of the node with this number.
    pub fn node(&self, number: u32) -> Option<&Record> {
        (number < self.capacity)
            .then(|| self.record(number))
            .flatten()
    }

    /// What the node with this number has done; `None` if it has never asked.
    pub fn activity(&self, number: u32) -> Option<Activity> {
        let mut activity = self.node(number)?.read()?;
        let Activity {
            first, boot, last, ..
        } = activity;
        // The clocks of the kernel's program and of userspace, and those of two CPUs, may differ by a
        // moment. What has come later must not seem to be earlier.
        activity.boot = later(first, boot);
        activity.last = later(activity.boot, last);
        if activity.answered == Some(last) {
            activity.answered = Some(activity.last);
        }
        Some(activity)
    }

    /// Two records of clients that are no node, by the number of the first.
    pub(super) fn strangers(&self, pair: u32) -> Option<(&Record, &Record)> {
        let first = self.capacity + pair;
        Some((self.record(first)?, self.record(first + 1)?))
    }

    /// What stands for the name of the node with this number; 0 if it is nobody's.
    pub(super) fn key(&self, number: u32) -> u64 {
        let record = self.key_record(number);
        let words = record.map(Record::words).unwrap_or_default();
        words
            .get((number % KEYS_A_RECORD) as usize)
            .copied()
            .unwrap_or_default()
    }

    /// The number becomes another node's.
    pub(super) fn set_key(&self, number: u32, key: u64) {
        if let Some(record) = self.key_record(number) {
            record.set_word((number % KEYS_A_RECORD) as usize, key);
        }
    }

    fn key_record(&self, number: u32) -> Option<&Record> {
        self.record(self.capacity + STRANGERS + number / KEYS_A_RECORD)
    }

    pub(super) fn is_map(&self) -> bool {
        self.map.is_some()
    }

    pub(super) fn is_same_map(&self, other: &Self) -> bool {
        self.map.is_some() && self.map == other.map
    }

    /// Copies all records of another memory, as far as there is room. What is zero here and there is not
    /// touched, and so takes no memory.
    pub(super) fn take_over(&self, other: &Self) {
        let parts = [
            (0, 0, self.capacity.min(other.capacity)),
            (self.capacity, other.capacity, STRANGERS),
            (
                self.capacity + STRANGERS,
                other.capacity + STRANGERS,
                self.capacity.min(other.capacity) / KEYS_A_RECORD,
            ),
        ];
        if other.mapped.is_none() {
            return;
        }
        for (to, from, count) in parts {
            for at in 0..count {
                if let (Some(to), Some(from)) = (self.record(to + at), other.record(from + at))
                    && to.words() != from.words()
                {
                    to.copy_from(from);
                }
            }
        }
    }

    fn record(&self, index: u32) -> Option<&Record> {
        if index >= records(self.capacity) {
            return None;
        }
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
        let start = self.mapped.as_ref()?.as_mut_ptr().cast::<Record>();
        // SAFETY: see the module. Records are aligned, and there are as many as the capacity says.
        unsafe { start.add(index as usize).as_ref() }
    }
}

/// The later one of two moments, which are not far from each other.
fn later(one: Moment, other: Moment) -> Moment {
    if other.wrapping_sub(one).cast_signed() < 0 {
        one
    } else {
        other
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use proxydhcp_common::activity::{Outcome, PAUSE};

    use super::*;

    #[test]
    fn what_comes_later_is_not_earlier() {
        let memory = Memory::anonymous(LEAST);
        let node = memory.node(7).unwrap();
        node.note(5, Outcome::Answered, Some(7));
        // By a clock that is behind.
        node.note(4, Outcome::Answered, Some(7));
        let activity = memory.activity(7).unwrap();
        assert_eq!((activity.first, activity.boot), (5, 5));
        assert_eq!((activity.last, activity.answered), (5, Some(5)));
        // The last answer may have been before this boot.
        node.note(5 + 2 * PAUSE, Outcome::Limited, Some(7));
        let activity = memory.activity(7).unwrap();
        assert_eq!((activity.first, activity.boot), (5, 5 + 2 * PAUSE));
        assert_eq!((activity.last, activity.answered), (activity.boot, Some(4)));
        assert_eq!(memory.activity(8), None);
    }

    #[test]
    fn a_file_keeps_what_was_noted_and_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("activity");
        let memory = Memory::file(&path, LEAST).unwrap();
        memory.node(7).unwrap().note(5, Outcome::Answered, Some(7));
        memory.set_key(7, 77);
        drop(memory);
        for capacity in [LEAST, LEAST * 2] {
            let memory = Memory::file(&path, capacity).unwrap();
            assert_eq!(memory.capacity(), capacity);
            assert_eq!((memory.key(7), memory.key(8)), (77, 0));
            let activity = memory.node(7).unwrap().read().unwrap();
            assert_eq!((activity.last, activity.requests), (5, 1));
        }
        // Another version's is begun anew.
        Memory::file(&path, LEAST)
            .unwrap()
            .record(0)
            .unwrap()
            .set_word(0, 1);
        assert_eq!(Memory::file(&path, LEAST).unwrap().key(7), 0);
        // One that was cut off, too.
        fs::write(&path, [1; 1000]).unwrap();
        let memory = Memory::file(&path, LEAST).unwrap();
        assert_eq!(memory.node(2).unwrap().read(), None);
    }

    #[test]
    fn a_file_that_others_may_change_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("activity");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(Memory::file(&path, LEAST).is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(Memory::file(&path, LEAST).is_err());
    }

    #[test]
    fn there_is_room_for_a_million_nodes_and_no_more_than_that() {
        assert_eq!(capacity(0), LEAST);
        assert!(capacity(1_000_000) > 1_000_001);
        assert_eq!(capacity(usize::MAX), MOST);
        let memory = Memory::anonymous(LEAST);
        assert!(memory.node(LEAST - 1).is_some() && memory.node(LEAST).is_none());
        assert!(memory.strangers(STRANGERS - 2).is_some());
        assert!(Memory::nowhere().node(2).is_none());
    }
}
