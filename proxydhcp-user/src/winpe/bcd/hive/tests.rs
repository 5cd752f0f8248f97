use proptest::prelude::*;

use super::*;

fn value(name: &str, kind: u32, data: &[u8]) -> Value {
    Value {
        name: name.to_owned(),
        kind,
        data: data.to_vec(),
    }
}

/// A tree that needs several bins, one of them longer than a page.
fn tree() -> Key {
    let keys = (0..80).map(|number| Key {
        name: format!("k{number:02}"),
        values: vec![
            value("short", NUMBER, &[number, 0, 0, 0]),
            value("long", BINARY, &vec![number; 7 * usize::from(number)]),
            value("", TEXT, b""),
        ],
        keys: Vec::new(),
    });
    Key {
        name: "root".to_owned(),
        values: vec![value("page", BINARY, &[7; 5000])],
        keys: keys.collect(),
    }
}

#[test]
fn what_is_written_is_read_and_written_the_same() {
    let hive = write(&tree());
    assert_eq!(read(&hive).unwrap(), tree());
    assert_eq!(write(&tree()), hive);
    assert_eq!(hive.len() % PAGE, 0);
    // Windows searches the lists, so their order is that of the names.
    let mut mixed = tree();
    mixed.keys.reverse();
    assert_eq!(write(&mixed).len(), hive.len());
    assert_eq!(read(&write(&mixed)).unwrap(), tree());
}

#[test]
fn a_truncated_hive_is_told() {
    let hive = write(&tree());
    for len in [4, 4095, 4096, 5000, hive.len() - 1] {
        let error = read(&hive[..len]).unwrap_err();
        assert!(error.to_string().starts_with("truncated"), "{error}");
    }
    assert_eq!(read(&hive[..3]), Err(HiveError::NotHive));
    assert_eq!(read(b""), Err(HiveError::NotHive));
}

#[test]
fn a_circle_of_keys_ends() {
    let mut hive = write(&tree());
    let root = u32::from_le_bytes(*hive[36..].first_chunk().unwrap());
    let list = PAGE + root as usize + 4 + 28;
    let list = u32::from_le_bytes(*hive[list..].first_chunk().unwrap());
    let first = PAGE + list as usize + 4 + 4;
    hive[first..first + 4].copy_from_slice(&root.to_le_bytes());
    assert!(matches!(
        read(&hive),
        Err(HiveError::Shared | HiveError::TooDeep)
    ));
}

proptest! {
    #[test]
    fn a_damaged_hive_is_read_or_refused(at in 36_usize..20_000, byte: u8) {
        let mut hive = write(&tree());
        let at = at % hive.len();
        hive[at] = byte;
        // The checksum covers the header only.
        let sum = checksum(&hive);
        hive[CHECKSUM_AT..][..4].copy_from_slice(&sum.to_le_bytes());
        if let Ok(root) = read(&hive) {
            prop_assert!(root.keys.len() <= 80);
        }
    }
}
