use std::fs;

use proptest::prelude::*;

use super::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/golden.cfg");

fn record(name: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> Vec<u8> {
    let mut record = name.as_ref().to_vec();
    record.resize(NAME, 0);
    record.extend(path.as_ref());
    record.resize(RECORD, 0);
    record
}

fn parsed(bytes: &[u8]) -> Records<'_> {
    parse(bytes, Rules::within(Path::new("/tftpboot")))
}

fn write(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxydhcp.cfg");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn a_missing_file_is_named() {
    let error = read(Path::new("/nowhere/proxydhcp.cfg")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/proxydhcp.cfg: no such file"),
        "{error}"
    );
}

#[test]
fn an_empty_file_has_no_records() {
    let (_folder, path) = write(b"");
    let bytes = read(&path).unwrap();
    assert!(bytes.is_empty());
    assert_eq!(parsed(&bytes).winpes, [WinPe::default()]);
}

#[test]
fn part_of_a_record_is_an_error() {
    for size in [1, 199, 201, 399] {
        let (_folder, path) = write(&vec![b'a'; size]);
        let error = read(&path).unwrap_err();
        let expected = format!(
            "{}: {size} bytes is not a multiple of the 200-byte record;",
            path.display()
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn the_golden_file_has_one_bad_record() {
    let bytes = read(Path::new(GOLDEN)).unwrap();
    let Records {
        records,
        winpes,
        refused,
        warnings,
        written,
        ..
    } = parsed(&bytes);
    assert_eq!(records.len(), 39);
    assert_eq!(
        records[0],
        Record {
            number: 1,
            name: "cn000",
            winpe: 0
        }
    );
    assert_eq!(
        records[1].winpe, records[2].winpe,
        "with and without its last slash"
    );
    assert_eq!(winpes[records[1].winpe].path(), "winboot/newwinpe/");
    assert_eq!(
        (refused.len(), refused[0].number, &*refused[0].name),
        (1, 4, "cn003")
    );
    assert!(
        refused[0].reason.contains("128 characters"),
        "{}",
        refused[0].reason
    );
    assert!(warnings.is_empty());
    assert!(written);
}

#[test]
fn full_fields_have_no_nul() {
    let (name, path) = ("n".repeat(50), format!("/tftpboot/{}", "p".repeat(100)));
    let bytes = record(&name, &path);
    let parsed = parsed(&bytes);
    assert_eq!(parsed.records[0].name, name);
    assert_eq!(parsed.position(name.to_uppercase().as_bytes()), Some(0));
    assert_eq!(parsed.position(format!("{name}n").as_bytes()), None);
    let full = [record("a", "p".repeat(150)), record("b", "")].concat();
    let parsed = self::parsed(&full);
    assert!(parsed.refused[0].reason.contains("168 characters"));
    assert_eq!(parsed.records[0].name, "b");
}

#[test]
fn a_text_ends_at_the_first_nul() {
    let bytes = record("cn1\0junk", "w\0/../junk");
    let parsed = parsed(&bytes);
    assert_eq!(
        (parsed.records[0].name, parsed.winpes[1].path()),
        ("cn1", "w/")
    );
    assert!(parsed.written);
    assert_eq!(parsed.warnings.len(), 1);
}

#[test]
fn bad_records_do_not_hide_the_others() {
    let bytes = [
        record("", "winboot/x"),
        record("a\nb", ""),
        record("a b", ""),
        record(b"\xff\xfe", ""),
        record("slash", "/etc/winboot"),
        record("parent", "winboot/../x"),
        record("newline", "winboot/\n"),
        record("binary", b"winboot/\xff"),
        record("good", "winboot/x"),
    ]
    .concat();
    let parsed = parsed(&bytes);
    assert_eq!(
        parsed.records,
        [Record {
            number: 9,
            name: "good",
            winpe: 1
        }]
    );
    let refused: Vec<_> = parsed
        .refused
        .iter()
        .map(|refused| (refused.number, &*refused.name))
        .collect();
    let expected = [
        (1, ""),
        (2, "a\\nb"),
        (3, "a b"),
        (4, "\\xff\\xfe"),
        (5, "slash"),
        (6, "parent"),
        (7, "newline"),
        (8, "binary"),
    ];
    assert_eq!(refused, expected);
}

#[test]
fn the_last_of_a_name_is_served() {
    let bytes = [
        record("cn1", "winboot/a"),
        record("cn2", "winboot/b"),
        record("CN1", "winboot/c"),
        record("cn1", "/outside"),
    ]
    .concat();
    let parsed = parsed(&bytes);
    assert_eq!(parsed.records.len(), 2);
    let served = parsed.records[parsed.position(b"cn1").unwrap() as usize];
    assert_eq!(
        (served.number, parsed.winpes[served.winpe].path()),
        (3, "winboot/c/")
    );
    assert_eq!(parsed.warnings.len(), 1);
    assert!(
        parsed.warnings[0]
            .text
            .starts_with("records 1 and 3 are both of node CN1")
    );
    assert_eq!(parsed.refused[0].number, 4);
}

proptest! {
    #[test]
    fn any_bytes_parse(bytes in prop::collection::vec(any::<u8>(), 0..1000)) {
        let parsed = parsed(&bytes);
        prop_assert_eq!(parsed.records.len() + parsed.refused.len(), bytes.len() / RECORD);
    }

    #[test]
    fn any_fields_parse(fields in prop::collection::vec(("[ab\0\n]{0,3}", "[/.x\0]{0,9}"), 0..9)) {
        let bytes: Vec<u8> =
            fields.iter().flat_map(|(name, path)| record(name, path)).collect();
        let parsed = parsed(&bytes);
        let is_double = |warning: &&Warning| warning.text.contains(" are both of node ");
        let doubles = parsed.warnings.iter().filter(is_double).count();
        let count = parsed.records.len() + parsed.refused.len() + doubles;
        prop_assert_eq!(count, fields.len());
        for record in &parsed.records {
            prop_assert!(record.winpe < parsed.winpes.len());
        }
    }
}

/// Writes a node's record as xCAT's nodeset does: where the node's name stands first, be it within
/// another record.
fn nodeset(file: &mut Vec<u8>, name: &str, path: &str) {
    let record = record(name, path);
    let at = file
        .windows(name.len())
        .position(|at| at == name.as_bytes());
    let at = at.unwrap_or(file.len());
    let size = file.len().max(at + RECORD);
    file.resize(size, 0);
    file[at..at + RECORD].copy_from_slice(&record);
}

#[test]
fn a_record_written_into_another_is_told_with_both_nodes() {
    for (records, set, warning, refused) in [
        (
            [("cn1", ""), ("cn2", "winboot/b/")],
            "n1",
            "winboot/x/ stands behind the WinPE path of cn1: nodeset has written the record of n1 into \
             that of cn1; clear it with `proxydhcp cfg repair`, and run `proxydhcp node set` for n1 and cn1",
            "the node name is empty, and n2 follows it",
        ),
        (
            [("login-n1", "winboot/a/"), ("a-long-name", "")],
            "n1",
            "the record of n1 into that of login-n1;",
            "and -name follows it",
        ),
        // A name that is part of a path.
        (
            [("cn1", "winboot/gpu"), ("cn2-spare-b", "")],
            "gpu",
            "the record of gpu into that of cn1;",
            "the node name is empty; remove the record",
        ),
    ] {
        let [(first, path), (second, other)] = records;
        let mut file = [record(first, path), record(second, other)].concat();
        nodeset(&mut file, set, "winboot/x/");
        assert_eq!(file.len() % RECORD, 0);
        let parsed = parsed(&file);
        assert_eq!(parsed.records.len(), 1, "{set}");
        assert_eq!(parsed.warnings[0].record, Some(1));
        assert!(
            parsed.warnings[0].text.contains(warning),
            "{:?}",
            parsed.warnings
        );
        assert!(
            parsed.refused[0].reason.contains(refused),
            "{:?}",
            parsed.refused
        );
        // It is a configuration all the same.
        assert!(parsed.written);
    }
}
