//! `proxydhcp.cfg`: which WinPE each node boots, in the format that xCAT's nodeset writes.
//!
//! The file is a sequence of 200-byte records without header or separators: 50 bytes of node name,
//! then 150 bytes of WinPE path, each padded with NULs. A text ends at its field's first NUL, or
//! with the field. An empty path is the default WinPE.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::nodes::NAME;
use crate::nodes::noderange::Known;
use crate::sys::file::{self, FileError};
use crate::sys::xcat::{node_set, write_anew_or};
use crate::text::printable;
use crate::winpe::path::{Rules, WinPe, WinPeError, WinPes};

mod boots;
pub mod disabled;
pub mod edit;
pub mod hardware;
mod leftover;
pub mod salvage;
pub mod texts;

pub(crate) use boots::Boots;

/// The length of a record, in bytes.
pub const RECORD: usize = 200;

/// Why a file cannot be used as `proxydhcp.cfg`.
#[derive(Debug, thiserror::Error)]
pub enum CfgError {
    /// There is no such file.
    #[error("{}: no such file; check the path, or write it with {}", .0.display(), node_set())]
    Missing(PathBuf),
    /// It cannot be read.
    #[error(transparent)]
    File(FileError),
    /// It ends within a record.
    #[error(
        "{}: {size} bytes is not a multiple of the {RECORD}-byte record; \
         run {}`proxydhcp cfg repair` to keep its sound records",
        .path.display(),
        write_anew_or()
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: usize,
    },
}

impl From<FileError> for CfgError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Missing(path) => Self::Missing(path),
            error => Self::File(error),
        }
    }
}

/// The sound records of a file, borrowing their names from its bytes.
#[derive(Debug, Default)]
pub struct Records<'a> {
    /// The sound records, one for each name.
    pub records: Vec<Record<'a>>,
    /// Each WinPE once; the first is the default one.
    pub winpes: Vec<WinPe>,
    /// The records that cannot be served, in the file's order.
    pub refused: Vec<Refused>,
    /// Nodes whose name is sound and whose records are all refused, and those that [`Self::deny`]
    /// adds.
    pub denied: Vec<Denied<'a>>,
    /// Anything else an administrator should know, in the file's order.
    pub warnings: Vec<Warning>,
    /// Whether any sound record is as a writer leaves it. In noise, none is.
    pub written: bool,
    positions: HashMap<Name<'a>, u32>,
}

/// A sound record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position in the file, from 1.
    pub number: u32,
    /// The node's name.
    pub name: &'a str,
    /// Its WinPE, an index into [`Records::winpes`].
    pub winpe: usize,
}

/// A node whose only record is refused, or which is disabled and has no record: it must not be
/// taken for a client without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied<'a> {
    /// The record's position in the file, from 1.
    pub number: Option<u32>,
    /// The node's name.
    pub name: &'a str,
}

/// Something that an administrator should know, for which no record is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The number, from 1, of the record that is not served as written, if it concerns one.
    pub record: Option<u32>,
    /// What it is, with the remedy.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<String> for Warning {
    fn from(text: String) -> Self {
        Self { record: None, text }
    }
}

/// A record that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its position in the file, from 1.
    pub number: u32,
    /// Its name, with unprintable characters escaped.
    pub name: String,
    /// What is wrong, with the remedy.
    pub reason: String,
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No client can have an empty name.
    #[error(
        "the node name is empty; remove the record, or run {} for the node again",
        node_set()
    )]
    NoName,
    /// An empty name, and behind it what another record has left of a name.
    #[error(
        "the node name is empty, and {0} follows it: nodeset has written the record of another node over \
         it; run `proxydhcp node set` for the node that it was of"
    )]
    Overwritten(String),
    /// Not UTF-8, or with characters that names cannot have.
    #[error(
        "the node name is not text (UTF-8 without spaces and control characters); \
         run {} for the node again",
        node_set()
    )]
    NotText,
    /// Longer than its field.
    #[error("the node name has {length} bytes, and a record holds {NAME}; use a shorter name")]
    LongName {
        /// Its length in bytes.
        length: usize,
    },
    /// Longer than its field, though short enough to be served: an absolute path below a long root.
    #[error(
        "the WinPE path has {length} bytes, and a record holds {}; \
         give it relative to the TFTP root",
        RECORD - NAME
    )]
    LongPath {
        /// Its length in bytes.
        length: usize,
    },
    /// The path cannot be served.
    #[error(transparent)]
    WinPe(#[from] WinPeError),
}

/// A node name. Names that differ only in ASCII case are equal.
#[derive(Clone, Copy, Debug)]
struct Name<'a>(&'a [u8]);

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for Name<'_> {}

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut folded = [0; NAME];
        for (folded, byte) in folded.iter_mut().zip(self.0) {
            *folded = byte.to_ascii_lowercase();
        }
        state.write(&folded);
    }
}

/// Reads a `proxydhcp.cfg`. An empty one is valid and has no records.
///
/// xCAT's writer truncates the file and fills it again, so a file that ends within a record is read
/// again a little later.
///
/// # Errors
/// If the file cannot be read or is not a `proxydhcp.cfg`: see [`CfgError`].
pub fn read(path: &Path) -> Result<Vec<u8>, CfgError> {
    let bytes = read_damaged(path)?;
    if !bytes.len().is_multiple_of(RECORD) {
        return Err(CfgError::Size {
            path: path.to_owned(),
            size: bytes.len(),
        });
    }
    Ok(bytes)
}

/// Reads a `proxydhcp.cfg` like [`read`], except that a missing file has no records, and so no
/// bytes.
///
/// # Errors
/// If the file exists and cannot be read, or is not a `proxydhcp.cfg`: see [`CfgError`].
pub fn read_if_there(path: &Path) -> Result<Vec<u8>, CfgError> {
    match read(path) {
        Err(CfgError::Missing(_)) => Ok(Vec::new()),
        read => read,
    }
}

/// The bytes of a `proxydhcp.cfg`, even if they end within a record after three attempts.
///
/// # Errors
/// If the file is missing or cannot be read.
pub(crate) fn read_damaged(path: &Path) -> Result<Vec<u8>, CfgError> {
    Ok(file::read_until(path, |bytes| {
        bytes.len().is_multiple_of(RECORD)
    })?)
}

/// Parses a file's bytes. Bad records are refused and the others are kept; of several records with
/// one name, the last counts. An incomplete record at the end is ignored.
pub fn parse<'a>(bytes: &'a [u8], rules: Rules<'_>) -> Records<'a> {
    let (chunks, _) = bytes.as_chunks::<RECORD>();
    let mut parsed = Records {
        records: Vec::with_capacity(chunks.len()),
        positions: HashMap::with_capacity(chunks.len()),
        ..Records::default()
    };
    let mut winpes = WinPes::new(rules);
    let mut position = 0;
    let mut denied = Vec::new();
    for (number, chunk) in (1..).zip(chunks) {
        let (name, path) = chunk.split_at(NAME);
        let ((name, after_name), (path, _)) = (split(name), split(path));
        let record = name_in(name, after_name).and_then(|name| match winpes.index(path) {
            Ok(winpe) => Ok(Record {
                number,
                name,
                winpe,
            }),
            Err(fault) => {
                denied.push(Denied {
                    number: Some(number),
                    name,
                });
                Err(fault.into())
            }
        });
        match record {
            Ok(record) => {
                parsed.written = parsed.written || leftover::is_written(chunk);
                if parsed.insert(record, position) {
                    position += 1;
                }
                if let Some(text) = leftover::describe(chunk) {
                    let record = Some(number);
                    parsed.warnings.push(Warning { record, text });
                }
            }
            Err(fault) => parsed.refused.push(Refused {
                number,
                name: printable(name),
                reason: fault.to_string(),
            }),
        }
    }
    parsed.deny(denied.into_iter());
    parsed.winpes = winpes.list;
    parsed
}

/// The names of a file's records that are text, each once, in the file's order.
pub fn names(bytes: &[u8]) -> Known {
    let names = bytes.as_chunks::<RECORD>().0.iter().filter_map(|record| {
        str::from_utf8(name_field(record))
            .ok()
            .filter(|name| !name.is_empty())
    });
    Known::new(names)
}

impl<'a> Records<'a> {
    /// The position of the record with this name, ignoring ASCII case: in [`Self::records`], or in
    /// [`Self::denied`], whose positions follow.
    pub fn position(&self, name: &[u8]) -> Option<u32> {
        if name.len() > NAME {
            return None;
        }
        self.positions.get(&Name(name)).copied()
    }

    /// Adds those of these nodes that have no record.
    pub(crate) fn deny(&mut self, nodes: impl Iterator<Item = Denied<'a>>) {
        for node in nodes {
            let position = self.records.len() + self.denied.len();
            if let Ok(position) = u32::try_from(position)
                && let Entry::Vacant(entry) = self.positions.entry(Name(node.name.as_bytes()))
            {
                entry.insert(position);
                self.denied.push(node);
            }
        }
    }

    /// Adds a record at `position`, the end, or replaces an earlier one of the same name. Returns
    /// whether it was added.
    fn insert(&mut self, record: Record<'a>, position: u32) -> bool {
        match self.positions.entry(Name(record.name.as_bytes())) {
            Entry::Vacant(entry) => {
                entry.insert(position);
                self.records.push(record);
                true
            }
            Entry::Occupied(entry) => {
                if let Some(earlier) = self.records.get_mut(*entry.get() as usize) {
                    let text = format!(
                        "records {} and {} are both of node {}; record {} is served: \
                         remove the other",
                        earlier.number, record.number, record.name, record.number
                    );
                    self.warnings.push(Warning {
                        record: Some(earlier.number),
                        text,
                    });
                    *earlier = record;
                }
                false
            }
        }
    }
}

/// The text in the name's field of a record.
fn name_field(record: &[u8; RECORD]) -> &[u8] {
    split(record.split_at(NAME).0).0
}

/// Splits a field into its text and what follows it.
fn split(field: &[u8]) -> (&[u8], &[u8]) {
    let end = field
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(field.len());
    field.split_at(end)
}

/// The name in its field, with what follows it there.
fn name_in<'a>(name: &'a [u8], after: &[u8]) -> Result<&'a str, Fault> {
    name_of(name).map_err(|fault| match (fault, leftover::first_text(after)) {
        (Fault::NoName, Some((_, rest))) => Fault::Overwritten(rest),
        (fault, _) => fault,
    })
}

fn name_of(name: &[u8]) -> Result<&str, Fault> {
    let name = str::from_utf8(name).map_err(|_| Fault::NotText)?;
    if name.is_empty() {
        return Err(Fault::NoName);
    }
    if name
        .chars()
        .any(|char| char.is_control() || char.is_whitespace())
    {
        return Err(Fault::NotText);
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
