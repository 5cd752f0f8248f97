use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::*;
use crate::cfg::{NAME, RECORD};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data");
/// For look-ups that need no name server.
const SOON: Duration = Duration::from_secs(20);

fn config(nodes: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, path) in nodes {
        let start = bytes.len();
        bytes.extend(name.as_bytes());
        bytes.resize(start + NAME, 0);
        bytes.extend(path.as_bytes());
        bytes.resize(start + RECORD, 0);
    }
    bytes
}

/// Loads what the files hold; the resolver is asked for nothing in no time.
fn load(config: &[u8], hosts: Option<&str>, resolve_limit: Duration) -> Result<Table, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    fs::write(path("proxydhcp.cfg"), config).unwrap();
    if let Some(hosts) = hosts {
        fs::write(path("hosts"), hosts).unwrap();
    }
    load_from(&Sources {
        config: path("proxydhcp.cfg"),
        hosts: path("hosts"),
        tftp_root: "/tftpboot".into(),
        resolve_limit,
    })
}

fn load_from(sources: &Sources) -> Result<Table, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // A reload is a task of its own.
    let sources = sources.clone();
    let loaded = runtime.block_on(runtime.spawn(async move { Table::load(&sources).await }));
    runtime.shutdown_background();
    loaded.unwrap().map(|(table, _)| table)
}

pub(super) fn table(nodes: &[(&str, &str)], hosts: &str) -> Table {
    load(&config(nodes), Some(hosts), Duration::ZERO).unwrap()
}

fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size.div_ceil(8))
        .flat_map(|_| next())
        .take(size)
        .collect()
}

#[test]
fn the_golden_files_load() {
    let sources = Sources {
        config: Path::new(DATA).join("golden.cfg"),
        hosts: Path::new(DATA).join("golden.hosts"),
        tftp_root: "/tftpboot".into(),
        resolve_limit: Duration::ZERO,
    };
    let table = load_from(&sources).unwrap();
    assert_eq!((table.records(), table.nodes().len()), (40, 39));
    assert_eq!((table.refused().len(), table.refused()[0].number), (1, 4));
    assert_eq!(table.unresolved().len(), 0);
    assert!(table.warnings().is_empty(), "{:?}", table.warnings());
    assert!(
        table.node([10, 77, 16, 3].into()).is_none(),
        "its record is refused"
    );
    assert!(
        table.node([10, 77, 16, 47].into()).is_none(),
        "it has no record"
    );
    let node = table.node([10, 77, 16, 6].into()).unwrap();
    assert_eq!(node.name, "cn006.cluster.test");
    assert!(
        table.winpes()[node.winpe]
            .path()
            .starts_with("winboot/7i-31.")
    );
    assert_eq!(table.node([10, 77, 16, 0].into()).unwrap().winpe, 0);
    assert!(table.nodes().map(|node| node.address).is_sorted());
}

#[test]
fn an_empty_file_is_a_table_without_records() {
    let table = load(b"", Some("10.0.0.1 a"), SOON).unwrap();
    assert_eq!((table.records(), table.nodes().len()), (0, 0));
    assert_eq!(table.winpes(), [WinPe::default()]);
    assert_eq!(Table::empty().winpes(), [WinPe::default()]);
}

#[test]
fn errors_name_the_file() {
    let file_errors = [
        (b"a".repeat(199), "199 bytes is not a multiple"),
        (vec![1; 201], "201 bytes"),
    ];
    for (config, expected) in file_errors {
        let error = load(&config, None, Duration::ZERO).unwrap_err();
        assert!(
            matches!(error, LoadError::Config(CfgError::Size { .. })),
            "{error}"
        );
        assert!(error.to_string().contains(expected), "{error}");
    }
    let sources = Sources {
        config: "/nowhere/proxydhcp.cfg".into(),
        hosts: "/etc/hosts".into(),
        tftp_root: "/tftpboot".into(),
        resolve_limit: SOON,
    };
    let error = load_from(&sources).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/proxydhcp.cfg: no such file"),
        "{error}"
    );
    let irregular = Sources {
        config: format!("{DATA}/golden.cfg").into(),
        hosts: DATA.into(),
        ..sources
    };
    assert!(matches!(
        load_from(&irregular),
        Err(LoadError::Hosts(FileError::NotRegular(_)))
    ));
}

#[test]
fn noise_is_no_table() {
    let mut noise = noise(10 << 20);
    noise.truncate(noise.len() / RECORD * RECORD);
    let error = load(&noise, None, SOON).unwrap_err().to_string();
    assert!(
        error.contains("not one of its 52428 records is sound; record 1: "),
        "{error}"
    );
    // In noise of this size one record is likely to look sound.
    noise[..4].copy_from_slice(b"a\0\xff\xff");
    noise[NAME] = 0;
    let error = load(&noise, None, SOON).unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::NotOneSound {
                records: 52_428,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_file_of_bad_records_says_what_is_wrong_with_them() {
    let error = load(&config(&[("a", "/outside"), ("", "")]), None, SOON)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("not one of its 2 records is sound"),
        "{error}"
    );
    assert!(
        error.contains("; record 1: the WinPE path /outside is outside"),
        "{error}"
    );
}

#[test]
fn without_a_hosts_file_the_resolver_is_asked_for_all() {
    let nodes = config(&[("10.0.0.9", "w"), ("0.0.0.9", ""), ("10.0.0.8", "")]);
    let table = load(&nodes, None, SOON).unwrap();
    let nodes: Vec<_> = table.nodes().map(|node| (node.name, node.winpe)).collect();
    assert_eq!(nodes, [("10.0.0.8", 0), ("10.0.0.9", 1)]);
    assert_eq!(table.unresolved().collect::<Vec<_>>(), ["0.0.0.9"]);
    assert_eq!(table.warnings().len(), 1);
    assert!(
        table.warnings()[0].contains("hosts: no such file"),
        "{:?}",
        table.warnings()
    );
}

#[test]
fn the_resolver_adds_to_the_hosts_file() {
    let hosts = "10.0.0.1 a\n10.0.0.2 10.0.0.3-ib0\nnoise\n10.0.0.5 b";
    let nodes = config(&[("a", ""), ("10.0.0.3", "w"), ("10.0.0.1", ""), ("b", "w")]);
    let table = load(&nodes, Some(hosts), SOON).unwrap();
    let nodes: Vec<_> = table
        .nodes()
        .map(|node| (node.address.octets()[3], node.name))
        .collect();
    assert_eq!(nodes, [(1, "a"), (3, "10.0.0.3"), (5, "b")]);
    assert_eq!(table.unresolved().collect::<Vec<_>>(), ["10.0.0.1"]);
    let [malformed, conflict] = table.warnings() else {
        panic!("{:?}", table.warnings())
    };
    assert!(
        malformed.contains("left out: 1, the first is line 3;"),
        "{malformed}"
    );
    assert!(
        conflict.starts_with("10.0.0.1 is an address of both a and 10.0.0.1; a,"),
        "{conflict}"
    );
}

#[test]
fn an_address_of_two_nodes_is_told() {
    let table = table(
        &[("a", ""), ("b", "w")],
        "10.0.0.1 b\n10.0.0.1 a\n10.0.0.2 a\n10.0.0.2 a.c",
    );
    let nodes: Vec<_> = table.nodes().map(|node| node.name).collect();
    assert_eq!(nodes, ["b", "a"]);
    assert_eq!(table.warnings().len(), 1);
    assert!(
        table.warnings()[0].contains("both b and a"),
        "{:?}",
        table.warnings()
    );
}

#[test]
fn unresolved_names_are_told_and_the_resolver_may_be_left_out() {
    let long = "n".repeat(50);
    let table = table(&[("a", ""), (&long, "")], "10.0.0.1 a");
    assert_eq!(table.unresolved().collect::<Vec<_>>(), [long]);
    assert!(table.warnings().is_empty());
}

/// Prints how long large tables take; for a release build: `--ignored --nocapture --release`.
#[test]
#[ignore = "a measurement"]
fn large_tables() {
    for count in [100_000_u32, 1_000_000] {
        let (mut bytes, mut hosts) = (Vec::new(), String::new());
        for number in 0..count {
            bytes.extend(config(&[(
                &format!("cn{number:07}"),
                &format!("winboot/w{}/", number % 12),
            )]));
            let address = Ipv4Addr::from(0x0a00_0001 + number);
            writeln!(hosts, "{address} cn{number:07}.cluster.test cn{number:07}").unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        fs::write(path("cfg"), bytes).unwrap();
        fs::write(path("hosts"), hosts).unwrap();
        let sources = Sources {
            config: path("cfg"),
            hosts: path("hosts"),
            tftp_root: "/tftpboot".into(),
            resolve_limit: Duration::ZERO,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        for _ in 0..3 {
            let (table, timing) = runtime.block_on(Table::load(&sources)).unwrap();
            let started = Instant::now();
            let changes = changes(&Table::empty(), &table);
            let compared = started.elapsed();
            let started = Instant::now();
            let same = super::changes(&table, &table.clone());
            println!(
                "{count}: load {:?}, compare {compared:?}, {:?}",
                timing.read,
                started.elapsed()
            );
            assert_eq!(
                (changes.added.count, same),
                (count as usize, Changes::default())
            );
        }
    }
}
