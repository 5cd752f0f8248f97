//! What holds for any registry hive, and for any BCD.

use proxydhcp::winpe::bcd::Bcd;
use proxydhcp::winpe::bcd::hive::{self, Key};

/// The size of a hive's header in bytes.
const HEADER: usize = 4096;

/// Reads bytes as a BCD: as they are, and as the bins of a hive whose header is right. Their first
/// four bytes, which the reader does not need, are then the offset of the root key.
///
/// # Panics
/// Where what was read is more than the bytes can have, or is not written so that it is read again.
pub(crate) fn bcd(data: &[u8]) {
    check(data);
    check(&with_header(data));
}

fn with_header(bins: &[u8]) -> Vec<u8> {
    let mut hive = hive::write(&Key::default());
    hive.truncate(HEADER);
    let root = bins.first_chunk().copied().unwrap_or([32, 0, 0, 0]);
    hive[36..40].copy_from_slice(&root);
    let len = u32::try_from(bins.len()).expect("inputs are short");
    hive[40..44].copy_from_slice(&len.to_le_bytes());
    let (words, _) = hive[..508].as_chunks::<4>();
    let words = words.iter().map(|&word| u32::from_le_bytes(word));
    let sum = match words.fold(0, |sum, word| sum ^ word) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    };
    hive[508..512].copy_from_slice(&sum.to_le_bytes());
    hive.extend(bins);
    hive
}

fn check(bytes: &[u8]) {
    match hive::read(bytes) {
        Ok(root) => assert!(size(&root) <= bytes.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let Ok(bcd) = Bcd::parse(bytes) else { return };
    let again = Bcd::parse(&bcd.bytes()).expect("it was written here");
    assert_eq!(in_order(again), in_order(bcd));
}

/// The number of bytes that a key has in a hive at least.
fn size(key: &Key) -> usize {
    let values = key.values.iter();
    let values = values.map(|value| 24 + value.data.len().saturating_sub(4));
    let keys = key.keys.iter().map(size);
    80 + values.chain(keys).sum::<usize>()
}

/// The BCD in the order in which it is written, which is that of names.
fn in_order(mut bcd: Bcd) -> Bcd {
    bcd.objects.sort_by_key(|object| object.id.to_string());
    for object in &mut bcd.objects {
        object.elements.sort_by_key(|element| element.number);
    }
    bcd
}
