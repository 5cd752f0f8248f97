use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::nodes::cfg;

fn rules() -> Rules<'static> {
    Rules::within(Path::new("/tftpboot"))
}

fn record(name: &str, path: &str) -> RawRecord {
    RawRecord::new(name, path, rules()).unwrap()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxydhcp.cfg");
    (folder, path)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn add(path: &Path, name: &str) -> Result<()> {
    edit(path, |records| {
        put(records, &[record(name, "winboot/x")]);
        Ok(())
    })
}

#[test]
fn a_record_has_the_bytes_that_the_daemon_reads() {
    let full = record(&"n".repeat(50), &format!("/tftpboot/{}", "p".repeat(100)));
    let bytes = [record("cn1", ""), full].as_bytes().to_vec();
    let parsed = cfg::parse(&bytes, rules());
    assert_eq!(parsed.records.len(), 2);
    assert!(parsed.written);
    assert_eq!(full.name(), "n".repeat(50).as_bytes());
    assert_eq!(full.path().len(), 110);
    assert!(record("cn1", "").is_of("CN1") && !full.is_of("n"));
}

#[test]
fn a_record_that_would_not_be_served_is_not_made() {
    let long_root = format!("/{}", "r".repeat(120));
    for (name, path, root, said) in [
        ("", "", "/tftpboot", "the node name is empty"),
        ("a b", "", "/tftpboot", "the node name is not text"),
        ("a\0b", "", "/tftpboot", "the node name is not text"),
        (
            &*"n".repeat(51),
            "",
            "/tftpboot",
            "has 51 bytes, and a record holds 50",
        ),
        ("a", "winboot/../x", "/tftpboot", "has a '..'"),
        ("a", "/etc", "/tftpboot", "outside the TFTP root"),
        ("a", "w\0x", "/tftpboot", "control character"),
        (
            "a",
            &format!("{long_root}/{}", "p".repeat(40)),
            &long_root,
            "a record holds 150",
        ),
    ] {
        let error = RawRecord::new(name, path, Rules::within(Path::new(root))).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn other_records_keep_their_bytes_and_their_order() {
    let (folder, path) = folder();
    let mut odd = record("odd", "w").0;
    odd[20] = 0xff;
    odd[199] = b'!';
    let empty = [0; RECORD];
    let twice = record("TWICE", "winboot/old").0;
    fs::write(
        &path,
        [twice, odd, empty, record("twice", "").0, empty].concat(),
    )
    .unwrap();
    edit(&path, |records| {
        put(
            records,
            &[record("new", "n"), record("twice", "t"), record("new", "m")],
        );
        Ok(())
    })
    .unwrap();
    let expected = [
        odd,
        empty,
        record("twice", "t").0,
        empty,
        record("new", "m").0,
    ];
    assert_eq!(fs::read(&path).unwrap(), expected.concat());
    assert_eq!(
        names(folder.path()),
        [".proxydhcp.cfg.lock", "proxydhcp.cfg"]
    );
}

#[test]
fn a_missing_file_is_made_and_an_unchanged_one_is_not_written() {
    let (_folder, path) = folder();
    edit(&path, |_| Ok(())).unwrap();
    assert!(!path.exists(), "nothing was to be written");
    add(&path, "a").unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    add(&path, "a").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    add(&path, "b").unwrap();
    assert_eq!(fs::read(&path).unwrap().len(), 400);
}

#[test]
fn owner_and_mode_are_kept() {
    let (_folder, path) = folder();
    add(&path, "a").unwrap();
    chown(&path, Some(1234), Some(4321)).expect("this test needs root");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    add(&path, "b").unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1234, 4321));
    assert_eq!(metadata.mode() & 0o7777, 0o640);
}

#[test]
fn the_file_behind_a_link_is_replaced() {
    let (folder, path) = folder();
    let (elsewhere, target) = self::folder();
    symlink(&target, &path).unwrap();
    let error = add(&path, "a").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a link to a file that does not exist"),
        "{error}"
    );
    File::create(&target).unwrap();
    add(&path, "a").unwrap();
    assert_eq!(fs::read(&target).unwrap(), record("a", "winboot/x").0);
    assert_eq!(fs::read_link(&path).unwrap(), target);
    assert_eq!(names(folder.path()), ["proxydhcp.cfg"]);
    assert_eq!(
        names(elsewhere.path()),
        [".proxydhcp.cfg.lock", "proxydhcp.cfg"]
    );
}

#[test]
fn a_file_that_ends_within_a_record_is_refused_with_the_remedy() {
    let (_folder, path) = folder();
    fs::write(&path, [b'a'; 450]).unwrap();
    let error = add(&path, "a").unwrap_err();
    assert!(
        error.to_string().contains("proxydhcp cfg repair"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), [b'a'; 450]);
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let (folder, path) = folder();
    add(&path, "a").unwrap();
    let before = fs::read(&path).unwrap();
    let failed: Result<()> = edit(&path, |records| {
        records.clear();
        bail!("no")
    });
    assert_eq!(failed.unwrap_err().to_string(), "no");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(
        names(folder.path()),
        [".proxydhcp.cfg.lock", "proxydhcp.cfg"]
    );
}

#[test]
fn what_a_killed_writer_left_is_removed_and_never_written_through() {
    let (folder, path) = folder();
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, folder.path().join(".proxydhcp.cfg.new")).unwrap();
    add(&path, "a").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(
        names(folder.path()),
        [".proxydhcp.cfg.lock", "proxydhcp.cfg", "victim"]
    );
}

#[test]
fn what_xcat_wrote_meanwhile_is_not_overwritten() {
    let (folder, path) = folder();
    add(&path, "a").unwrap();
    let theirs = record("theirs", "").0;
    let error = edit(&path, |records| {
        fs::write(&path, theirs).unwrap();
        records.clear();
        Ok(())
    })
    .unwrap_err();
    assert!(
        format!("{error:#}").contains("another program has changed it"),
        "{error:#}"
    );
    assert_eq!(fs::read(&path).unwrap(), theirs);
    assert_eq!(
        names(folder.path()),
        [".proxydhcp.cfg.lock", "proxydhcp.cfg"]
    );
}

#[test]
fn a_folder_that_is_missing_and_a_folder_in_place_of_the_file_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = add(&folder.path().join("none/proxydhcp.cfg"), "a").unwrap_err();
    assert!(
        format!("{error:#}").contains("make its folder first"),
        "{error:#}"
    );
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let error = add(&inner, "a").unwrap_err();
    assert!(
        format!("{error:#}").contains("not a regular file"),
        "{error:#}"
    );
}

#[test]
fn threads_lose_no_change() {
    let (_folder, path) = folder();
    thread::scope(|scope| {
        for thread in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for number in 0..25 {
                    add(path, &format!("cn{thread}-{number}")).unwrap();
                }
            });
        }
    });
    let bytes = fs::read(&path).unwrap();
    assert_eq!(cfg::parse(&bytes, rules()).records.len(), 100);
}

proptest! {
    #[test]
    fn putting_keeps_all_others(
        old in prop::collection::vec("[a-dA-D]", 0..9),
        new in prop::collection::vec("[a-d]", 0..5),
    ) {
        let mut records: Vec<_> = old.iter().map(|name| record(name, "old")).collect();
        let others: Vec<_> = records
            .iter()
            .filter(|record| !new.iter().any(|name| record.is_of(name)))
            .copied()
            .collect();
        let news: Vec<_> = new.iter().map(|name| record(name, "new")).collect();
        put(&mut records, &news);
        for name in &new {
            let of: Vec<_> = records.iter().filter(|record| record.is_of(name)).collect();
            prop_assert_eq!(of.len(), 1);
            prop_assert_eq!(of[0].path(), b"new");
        }
        records.retain(|record| record.path() == b"old");
        prop_assert_eq!(records, others);
    }
}
