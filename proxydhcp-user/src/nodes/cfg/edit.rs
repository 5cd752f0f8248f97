//! Changes records of `proxydhcp.cfg`, while all others keep their exact bytes and their order.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Fault, NAME, Name, RECORD, leftover, name_in, name_of, split};
use crate::sys::file::LIMIT;
use crate::sys::replace::Replacement;
use crate::text::printable;
use crate::winpe::path::{Rules, WinPe};

/// A record as stored in the file, sound or not.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct RawRecord([u8; RECORD]);

impl RawRecord {
    /// Creates the record that sends `name` to the WinPE at `path`, which is stored as given; an
    /// empty path is the default WinPE. The rest of the record is NULs.
    ///
    /// # Errors
    /// If the daemon would refuse the record, or a text is longer than its field.
    pub fn new(name: &str, path: &str, rules: Rules<'_>) -> Result<Self, Fault> {
        judge(name.as_bytes(), path.as_bytes(), rules)?;
        let mut bytes = [0; RECORD];
        let (name_field, path_field) = bytes.split_at_mut(NAME);
        match name_field.get_mut(..name.len()) {
            Some(field) => field.copy_from_slice(name.as_bytes()),
            None => return Err(Fault::LongName { length: name.len() }),
        }
        match path_field.get_mut(..path.len()) {
            Some(field) => field.copy_from_slice(path.as_bytes()),
            None => return Err(Fault::LongPath { length: path.len() }),
        }
        Ok(Self(bytes))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; RECORD] {
        &self.0
    }

    /// Checks whether the daemon serves the record.
    ///
    /// # Errors
    /// If the daemon refuses it; the fault says why.
    pub fn check(&self, rules: Rules<'_>) -> Result<(), Fault> {
        let (name, after) = split(self.0.split_at(NAME).0);
        name_in(name, after)?;
        judge(name, self.path(), rules)
    }

    /// Whether it is as a writer leaves it.
    pub fn is_written(&self) -> bool {
        leftover::is_written(&self.0)
    }

    /// The record with only NULs behind its texts, and what else was there; `None` if nothing was.
    pub fn cleared(&self) -> Option<(Self, String)> {
        let leftover = leftover::describe(&self.0)?;
        let mut cleared = *self;
        let (name, path) = cleared.0.split_at_mut(NAME);
        for field in [name, path] {
            let end = split(field).0.len();
            field.get_mut(end..).unwrap_or_default().fill(0);
        }
        Some((cleared, leftover))
    }

    /// Whether only NULs follow its texts, as every writer pads them.
    pub fn is_padded(&self) -> bool {
        leftover::is_none(&self.0)
    }

    /// The node's name, up to the field's first NUL.
    pub fn name(&self) -> &[u8] {
        split(self.0.split_at(NAME).0).0
    }

    /// The WinPE's path, up to the field's first NUL.
    pub fn path(&self) -> &[u8] {
        split(self.0.split_at(NAME).1).0
    }

    /// Whether it is the record of the node `name`, ignoring ASCII case.
    pub fn is_of(&self, name: &str) -> bool {
        self.name().eq_ignore_ascii_case(name.as_bytes())
    }
}

fn judge(name: &[u8], path: &[u8], rules: Rules<'_>) -> Result<(), Fault> {
    name_of(name)?;
    WinPe::parse(path, rules)?;
    Ok(())
}

impl fmt::Debug for RawRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} -> {}",
            printable(self.name()),
            printable(self.path())
        )
    }
}

/// Changes the file's records. A missing file has none. If `change` leaves the records as they are,
/// nothing is written; otherwise the file is replaced in one step, and keeps its owner and mode. If
/// it is a symbolic link, its target is replaced. Others that use this function meanwhile wait.
///
/// # Errors
/// If the file ends within a record, cannot be read, locked or written, or if `change` fails. The
/// file is then unchanged, and no temporary file is left behind.
pub fn edit<T>(path: &Path, change: impl FnOnce(&mut Vec<RawRecord>) -> Result<T>) -> Result<T> {
    let replacement = Replacement::begin(path)?;
    let bytes = super::read_if_there(path)?;
    let mut records = raw_records(&bytes).0.to_vec();
    let outcome = change(&mut records)?;
    let changed = records.as_bytes();
    if changed != bytes {
        if u64::try_from(changed.len()).is_ok_and(|size| size > LIMIT) {
            bail!(
                "{}: {} records would be more than the 2,000,000 that can be read; the file is unchanged",
                path.display(),
                records.len()
            );
        }
        replacement.replace(changed)?;
    }
    Ok(outcome)
}

/// Splits a file's bytes into its records and an incomplete one at their end.
pub fn raw_records(bytes: &[u8]) -> (&[RawRecord], &[u8]) {
    let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % RECORD);
    // Whole records have no alignment and no invalid values, so the cast cannot fail.
    (
        <[RawRecord]>::ref_from_bytes(whole).unwrap_or_default(),
        rest,
    )
}

/// Puts records into the list: each replaces its node's last record, which is the one that is
/// served, or is added at the end. Other records of the node are removed. Of several new records
/// for one node, the last counts.
pub fn put(records: &mut Vec<RawRecord>, new: &[RawRecord]) {
    let mut waiting: HashMap<Name<'_>, (usize, &RawRecord)> = HashMap::with_capacity(new.len());
    for (order, record) in new.iter().enumerate() {
        waiting.insert(Name(record.name()), (order, record));
    }
    let mut placed = vec![false; new.len()];
    let mut result = Vec::with_capacity(records.len() + new.len());
    for record in records.iter().rev() {
        let Some(&(order, new)) = waiting.get(&Name(record.name())) else {
            result.push(*record);
            continue;
        };
        if let Some(placed) = placed.get_mut(order)
            && !*placed
        {
            *placed = true;
            result.push(*new);
        }
    }
    result.reverse();
    for ((order, record), placed) in new.iter().enumerate().zip(placed) {
        let last = waiting.get(&Name(record.name())).map(|&(order, _)| order);
        if !placed && last == Some(order) {
            result.push(*record);
        }
    }
    *records = result;
}

#[cfg(test)]
mod tests;
