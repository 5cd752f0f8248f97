//! Writes hives. The same keys make the same bytes: all time stamps are zero.

use super::{
    BIN_HEADER, CHECKSUM_AT, IN_PLACE, KEY_NAME_IN_BYTES, Key, NONE, PAGE, VALUE_NAME_IN_BYTES,
    Value, checksum,
};

/// The flags of the root key: it is the root, and must not be deleted.
const ROOT: u16 = 0x0c;

/// Who may do what with the keys: administrators and the system, everything, and all below inherits
/// it. This is a security descriptor relative to itself (MS-DTYP, section 2.4.6).
#[rustfmt::skip]
const SECURITY: [u8; 88] = [
    // The administrators own it; two entries follow.
    1, 0, 0x04, 0x80, 72, 0, 0, 0, 72, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0,
    2, 0, 52, 0, 2, 0, 0, 0,
    // S-1-5-32-544, the administrators.
    0, 2, 24, 0, 0x3f, 0, 0x0f, 0, 1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0,
    // S-1-5-18, the system.
    0, 2, 20, 0, 0x3f, 0, 0x0f, 0, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0,
    1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0,
];

/// The bytes of a hive with this root key. Version 1.3, as Windows writes BCDs.
///
/// Names must consist of ASCII, and a value's data have less than 16 KiB: larger ones are written
/// otherwise.
pub fn write(root: &Key) -> Vec<u8> {
    let mut bins = Bins::default();
    let keys = count(root);
    let security = bins.security(keys);
    let root = bins.key(root, NONE, security);
    bins.close();
    let mut hive = header(root, bins.bytes.len());
    hive.append(&mut bins.bytes);
    hive
}

/// The number of keys, which all refer to the one security descriptor.
fn count(key: &Key) -> usize {
    1 + key.keys.iter().map(count).sum::<usize>()
}

fn header(root: u32, bins: usize) -> Vec<u8> {
    let mut header = Cell::default();
    header.bytes(b"regf").words(&[1, 1]).zeros(8);
    // Version 1.3, a file of its own, loaded as it is.
    header.words(&[1, 3, 0, 1, root, word(bins), 1]);
    let mut header = header.0;
    header.resize(CHECKSUM_AT, 0);
    header.extend(checksum(&header).to_le_bytes());
    header.resize(PAGE, 0);
    header
}

/// The bins so far. The last one is open.
#[derive(Default)]
struct Bins {
    bytes: Vec<u8>,
    /// Where the last bin begins, and where it ends.
    begin: usize,
    end: usize,
}

impl Bins {
    /// Adds a cell, and returns its offset. A cell never lies in two bins.
    fn add(&mut self, cell: &[u8]) -> u32 {
        let size = (4 + cell.len()).next_multiple_of(8);
        if self.bytes.len() + size > self.end {
            self.close();
            self.open(size);
        }
        let offset = self.bytes.len();
        // A negative size is that of a cell in use.
        self.bytes.extend(word(size).wrapping_neg().to_le_bytes());
        self.bytes.extend(cell);
        self.bytes.resize(offset + size, 0);
        word(offset)
    }

    /// Begins a bin with room for a cell of this size.
    fn open(&mut self, size: usize) {
        self.begin = self.bytes.len();
        let len = (BIN_HEADER + size).next_multiple_of(PAGE);
        self.end = self.begin + len;
        let mut header = Cell::default();
        header.bytes(b"hbin").words(&[word(self.begin), word(len)]);
        header.zeros(BIN_HEADER - 12);
        self.bytes.append(&mut header.0);
    }

    /// Makes the rest of the last bin a free cell.
    fn close(&mut self) {
        let free = self.end - self.bytes.len();
        if free > 0 {
            self.bytes.extend(word(free).to_le_bytes());
            self.bytes.resize(self.end, 0);
        }
    }

    /// The security descriptor of all keys. It is the only one in its list, which is a ring.
    fn security(&mut self, keys: usize) -> u32 {
        let itself = word(BIN_HEADER);
        let mut cell = Cell::default();
        cell.bytes(b"sk\0\0");
        cell.words(&[itself, itself, word(keys), word(SECURITY.len())]);
        cell.bytes(&SECURITY);
        self.add(&cell.0)
    }

    /// Adds a key with all below it.
    fn key(&mut self, key: &Key, parent: u32, security: u32) -> u32 {
        let values = key.values.iter().map(|value| self.value(value));
        let values: Vec<u32> = values.collect();
        let list = self.values(&values);
        let flags = if parent == NONE { ROOT } else { 0 } | KEY_NAME_IN_BYTES;
        // In UTF-16, whatever the names are stored in.
        let longest = |lens: &mut dyn Iterator<Item = usize>| word(lens.max().unwrap_or(0));
        let below = longest(&mut key.keys.iter().map(|key| 2 * key.name.len()));
        let names = longest(&mut key.values.iter().map(|value| 2 * value.name.len()));
        let data = longest(&mut key.values.iter().map(|value| value.data.len()));
        let mut cell = Cell::default();
        cell.bytes(b"nk").short(flags).zeros(12);
        cell.words(&[parent, word(key.keys.len()), 0, NONE, NONE]);
        cell.words(&[word(values.len()), list, security, NONE]);
        cell.words(&[below, 0, names, data, 0]);
        cell.short(short(key.name.len())).short(0);
        cell.bytes(key.name.as_bytes());
        let offset = self.add(&cell.0);
        let keys = self.keys(&key.keys, offset, security);
        // The keys below refer to this one, so only now is their list known.
        let at = offset as usize + 4 + 28;
        if let Some(field) = self.bytes.get_mut(at..at + 4) {
            field.copy_from_slice(&keys.to_le_bytes());
        }
        offset
    }

    /// Adds the keys below one, and their list, which is in the order of their names: readers may
    /// search it by halves.
    fn keys(&mut self, keys: &[Key], parent: u32, security: u32) -> u32 {
        if keys.is_empty() {
            return NONE;
        }
        let mut sorted: Vec<_> = keys.iter().collect();
        sorted.sort_by_key(|key| key.name.to_ascii_uppercase());
        let mut list = Cell::default();
        list.bytes(b"lf").short(short(keys.len()));
        for key in sorted {
            let offset = self.key(key, parent, security);
            let mut hint = [0; 4];
            for (hint, byte) in hint.iter_mut().zip(key.name.bytes()) {
                *hint = byte;
            }
            list.words(&[offset]).bytes(&hint);
        }
        self.add(&list.0)
    }

    fn values(&mut self, values: &[u32]) -> u32 {
        if values.is_empty() {
            return NONE;
        }
        let mut list = Cell::default();
        list.words(values);
        self.add(&list.0)
    }

    fn value(&mut self, value: &Value) -> u32 {
        let mut len = word(value.data.len());
        let data = if value.data.len() <= 4 {
            len |= IN_PLACE;
            let mut data = [0; 4];
            for (to, from) in data.iter_mut().zip(&value.data) {
                *to = *from;
            }
            u32::from_le_bytes(data)
        } else {
            self.add(&value.data)
        };
        let mut cell = Cell::default();
        cell.bytes(b"vk").short(short(value.name.len()));
        cell.words(&[len, data, value.kind]);
        cell.short(VALUE_NAME_IN_BYTES).short(0);
        cell.bytes(value.name.as_bytes());
        self.add(&cell.0)
    }
}

/// The contents of a cell.
#[derive(Default)]
struct Cell(Vec<u8>);

impl Cell {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    fn short(&mut self, number: u16) -> &mut Self {
        self.bytes(&number.to_le_bytes())
    }

    fn words(&mut self, numbers: &[u32]) -> &mut Self {
        for number in numbers {
            self.bytes(&number.to_le_bytes());
        }
        self
    }

    fn zeros(&mut self, count: usize) -> &mut Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }
}

/// A length or an offset, which the hives that are written here have no large ones of.
fn word(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(NONE)
}

/// A length or a number of keys.
fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
