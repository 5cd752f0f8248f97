//! Reads hives, which may be damaged or made to do harm: work and memory are bounded by the file's
//! length.

use super::{
    BIN_HEADER, CHECKSUM_AT, IN_PLACE, KEY_NAME_IN_BYTES, Key, NONE, PAGE, VALUE_NAME_IN_BYTES,
    Value, checksum,
};

/// How deep keys may be nested. Those of a BCD are five deep, the root included.
const MAX_DEPTH: usize = 16;

/// Why a file cannot be read as a hive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HiveError {
    /// The file does not begin as one.
    #[error("not a BCD (a registry hive): it does not begin with regf")]
    NotHive,
    /// The file is shorter than its header says.
    #[error("truncated: it has {has} bytes, and its header says {needs}")]
    Truncated {
        /// The length of the file in bytes.
        has: usize,
        /// The length according to its header.
        needs: usize,
    },
    /// The header is not what its checksum is of.
    #[error("damaged: the checksum of its header is wrong")]
    Checksum,
    /// A cell is not where it should be, or is not what it should be.
    #[error("damaged: at byte {at} there is no {expected}")]
    Cell {
        /// The offset in the file, in bytes.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// Keys are nested deeper than any in a BCD, or in a circle.
    #[error("damaged, or not a BCD: its keys are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Cells belong to several keys.
    #[error("damaged: its keys and values add up to more than the file")]
    Shared,
}

/// Reads a hive, and returns its root key.
///
/// # Errors
/// If the bytes are no hive, or a damaged one: see [`HiveError`].
pub fn read(bytes: &[u8]) -> Result<Key, HiveError> {
    if !bytes.starts_with(b"regf") {
        return Err(HiveError::NotHive);
    }
    let truncated = |needs| HiveError::Truncated {
        has: bytes.len(),
        needs,
    };
    let header = bytes.get(..PAGE).ok_or_else(|| truncated(PAGE))?;
    if word(header, CHECKSUM_AT) != Some(checksum(header)) {
        return Err(HiveError::Checksum);
    }
    let len = word(header, 40).unwrap_or_default() as usize;
    let needs = PAGE.saturating_add(len);
    let bins = bytes.get(PAGE..needs).ok_or_else(|| truncated(needs))?;
    let mut reader = Reader {
        bins,
        left: bins.len(),
    };
    reader.key(word(header, 36).unwrap_or(NONE), MAX_DEPTH)
}

struct Reader<'a> {
    bins: &'a [u8],
    /// The number of bytes that further cells may have together. Each belongs to one key, so all of
    /// them fit into the file, unless it is made to be read for ever.
    left: usize,
}

impl<'a> Reader<'a> {
    /// The contents of a cell in use.
    fn cell(&mut self, offset: u32, expected: &'static str) -> Result<&'a [u8], HiveError> {
        let fault = fault(offset, expected);
        let at = offset as usize;
        if !at.is_multiple_of(8) || at < BIN_HEADER {
            return Err(fault);
        }
        let size = word(self.bins, at).map_or(0, u32::cast_signed);
        // The size of a free cell is positive.
        let size = if size < 0 { size.unsigned_abs() } else { 0 } as usize;
        let end = at.saturating_add(size);
        let cell = self.bins.get(at + 4..end).ok_or(fault)?;
        self.left = self.left.checked_sub(size).ok_or(HiveError::Shared)?;
        Ok(cell)
    }

    /// The key at this offset, with all below it.
    fn key(&mut self, offset: u32, depth: usize) -> Result<Key, HiveError> {
        let depth = depth.checked_sub(1).ok_or(HiveError::TooDeep)?;
        let fault = fault(offset, "key");
        let cell = self.cell(offset, "key")?;
        let fields = cell.get(..76).ok_or_else(|| fault.clone())?;
        let field = |at| word(fields, at).unwrap_or_default();
        let flags = short(fields, 2).unwrap_or_default();
        let name_len = short(fields, 72).unwrap_or_default();
        let name = cell.get(76..76 + usize::from(name_len));
        let (true, Some(name)) = (fields.starts_with(b"nk"), name) else {
            return Err(fault);
        };
        let mut key = Key {
            name: text(name, flags & KEY_NAME_IN_BYTES != 0),
            ..Key::default()
        };
        if field(36) > 0 {
            let list = self.cell(field(40), "list of values")?;
            for at in 0..field(36) as usize {
                let value = word(list, 4 * at).unwrap_or(NONE);
                key.values.push(self.value(value)?);
            }
        }
        if field(20) > 0 {
            self.keys(field(28), depth, &mut key.keys)?;
        }
        Ok(key)
    }

    /// Appends the keys in a list, which may be a list of lists.
    fn keys(&mut self, offset: u32, depth: usize, keys: &mut Vec<Key>) -> Result<(), HiveError> {
        let depth = depth.checked_sub(1).ok_or(HiveError::TooDeep)?;
        let list = self.cell(offset, "list of keys")?;
        let count = usize::from(short(list, 2).unwrap_or_default());
        let step = match list.get(..2) {
            Some(b"lf" | b"lh") => 8,
            Some(b"li" | b"ri") => 4,
            _ => return Err(fault(offset, "list of keys")),
        };
        for at in 0..count {
            let offset = word(list, 4 + step * at).unwrap_or(NONE);
            if list.starts_with(b"ri") {
                self.keys(offset, depth, keys)?;
            } else {
                keys.push(self.key(offset, depth)?);
            }
        }
        Ok(())
    }

    fn value(&mut self, offset: u32) -> Result<Value, HiveError> {
        let fault = fault(offset, "value");
        let cell = self.cell(offset, "value")?;
        let fields = cell.get(..20).ok_or_else(|| fault.clone())?;
        let field = |at| word(fields, at).unwrap_or_default();
        let name_len = short(fields, 2).unwrap_or_default();
        let name = cell.get(20..20 + usize::from(name_len));
        let (true, Some(name)) = (fields.starts_with(b"vk"), name) else {
            return Err(fault);
        };
        let len = (field(4) & !IN_PLACE) as usize;
        let data = if field(4) & IN_PLACE != 0 {
            fields.get(8..12).and_then(|data| data.get(..len))
        } else if len == 0 {
            Some(&[][..])
        } else {
            self.cell(field(8), "data of a value")?.get(..len)
        };
        Ok(Value {
            name: text(
                name,
                short(fields, 16).unwrap_or_default() & VALUE_NAME_IN_BYTES != 0,
            ),
            kind: field(12),
            data: data.ok_or(fault)?.to_vec(),
        })
    }
}

fn fault(offset: u32, expected: &'static str) -> HiveError {
    HiveError::Cell {
        at: PAGE.saturating_add(offset as usize),
        expected,
    }
}

/// A name: in Latin-1, or in UTF-16.
fn text(bytes: &[u8], is_bytes: bool) -> String {
    if is_bytes {
        return bytes.iter().copied().map(char::from).collect();
    }
    let (units, _) = bytes.as_chunks();
    let units: Vec<_> = units.iter().map(|&unit| u16::from_le_bytes(unit)).collect();
    String::from_utf16_lossy(&units)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let short = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*short))
}
