//! Registry hives, the files that BCDs are: trees of keys with values.
//!
//! The format (regf) is a header of one page, then bins of whole pages, which consist of cells. Keys,
//! values, lists and data are a cell each, and name each other by their offsets from the first bin.
//! All numbers are little endian.

mod read;
mod write;

pub use read::{HiveError, read};
pub use write::write;

/// The value's data is a text in UTF-16 with a NUL.
pub const TEXT: u32 = 1;
/// The value's data is bytes.
pub const BINARY: u32 = 3;
/// The value's data is a number of 32 bits.
pub const NUMBER: u32 = 4;
/// The value's data is a list of texts, each with a NUL, and one more NUL.
pub const TEXTS: u32 = 7;

/// The size of the header, and what the size of a bin is a multiple of, in bytes.
const PAGE: usize = 4096;
/// The size of a bin's header in bytes.
const BIN_HEADER: usize = 32;
/// Stands for an offset where there is no cell.
const NONE: u32 = u32::MAX;
/// The flag of a key whose name has one byte a character.
const KEY_NAME_IN_BYTES: u16 = 0x20;
/// The flag of a value whose name has one byte a character.
const VALUE_NAME_IN_BYTES: u16 = 1;
/// The flag in a value's length that says that its data is where its offset would be.
const IN_PLACE: u32 = 1 << 31;
/// Where the header's checksum is.
const CHECKSUM_AT: usize = 508;

/// A key, with all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Its name, which is no path.
    pub name: String,
    /// Its values.
    pub values: Vec<Value>,
    /// The keys below it.
    pub keys: Vec<Key>,
}

/// A value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// Its type: [`TEXT`] and so on.
    pub kind: u32,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Key {
    /// The key of this name below it. Letter case does not matter.
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys
            .iter()
            .find(|key| key.name.eq_ignore_ascii_case(name))
    }

    /// Its value of this name. Letter case does not matter.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values
            .iter()
            .find(|value| value.name.eq_ignore_ascii_case(name))
    }
}

/// The checksum of a header: its first words, combined by exclusive or.
fn checksum(header: &[u8]) -> u32 {
    let (words, _) = header
        .get(..CHECKSUM_AT)
        .unwrap_or_default()
        .as_chunks::<4>();
    let sum = words
        .iter()
        .fold(0, |sum, &word| sum ^ u32::from_le_bytes(word));
    match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}

#[cfg(test)]
mod tests;
