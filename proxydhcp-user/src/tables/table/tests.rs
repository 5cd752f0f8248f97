use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::names::resolver::Resolution;
use crate::nodes::NAME;
use crate::nodes::cfg::texts::Texts;
use crate::nodes::cfg::{CfgError, RECORD};
use crate::sys::file::FileError;
use crate::winpe::loaders::Loaders;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data");

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

/// Loads files with these contents.
fn load(config: &[u8], hosts: Option<&str>, suffixes: &[&str]) -> Result<Table, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    fs::write(path("proxydhcp.cfg"), config).unwrap();
    if let Some(hosts) = hosts {
        // A last line without an end would be waited for.
        fs::write(path("hosts"), format!("{hosts}\n")).unwrap();
    }
    load_from(&Sources {
        config: path("proxydhcp.cfg"),
        hosts: path("hosts"),
        tftp_root: "/tftpboot".into(),
        loaders: Loaders::default(),
        suffixes: suffixes.iter().map(ToString::to_string).collect(),
        ethers: None,
    })
}

fn load_from(sources: &Sources) -> Result<Table, LoadError> {
    Files::read(sources).map(|files| Table::of_files(Arc::new(files)))
}

pub(crate) fn table(nodes: &[(&str, &str)], hosts: &str) -> Table {
    load(&config(nodes), Some(hosts), &[]).unwrap()
}

/// What is served: the last byte of each address, and the node's name.
fn served(table: &Table) -> Vec<(u8, &str)> {
    let nodes = table.nodes();
    nodes
        .map(|node| (node.address.octets()[3], node.name))
        .collect()
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
        loaders: Loaders::default(),
        suffixes: Vec::new(),
        ethers: None,
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
    let table = load(b"", Some("10.0.0.1 a"), &[]).unwrap();
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
        let error = load(&config, None, &[]).unwrap_err();
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
        loaders: Loaders::default(),
        suffixes: Vec::new(),
        ethers: None,
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
    let error = load(&noise, None, &[]).unwrap_err().to_string();
    assert!(
        error.contains("none of its records is sound (52428 records in all); record 1: "),
        "{error}"
    );
    // In noise of this size about one record is likely to look sound.
    noise[..4].copy_from_slice(b"a\0\xff\xff");
    noise[NAME] = 0;
    let error = load(&noise, None, &[]).unwrap_err();
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
    let error = load(&config(&[("a", "/outside"), ("", "")]), None, &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("none of its records is sound (2 records in all)"),
        "{error}"
    );
    assert!(
        error.contains("; record 1: the WinPE path /outside is outside"),
        "{error}"
    );
}

#[test]
fn without_a_hosts_file_the_resolver_is_asked_for_all() {
    let nodes = config(&[("a", "w"), ("b", "")]);
    let table = load(&nodes, None, &[]).unwrap();
    assert_eq!(table.nodes().len(), 0);
    assert_eq!(table.files().wanted().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(table.warnings().len(), 1);
    assert!(
        table.warnings()[0].text.contains("hosts: no such file"),
        "{:?}",
        table.warnings()
    );
}

#[test]
fn the_resolver_adds_to_the_hosts_file() {
    let hosts = "10.0.0.1 a\n10.0.0.2 c-ib0\nnoise\n10.0.0.5 b";
    let nodes = config(&[("a", ""), ("c", "w"), ("d", ""), ("b", "w"), ("e", "")]);
    let table = load(&nodes, Some(hosts), &["-ib0"]).unwrap();
    assert_eq!(served(&table), [(1, "a"), (2, "c"), (5, "b")]);
    assert_eq!(table.files().wanted().collect::<Vec<_>>(), ["c", "d", "e"]);
    let mut names = Names::default().of(table.files().wanted(), Instant::now());
    let found = |addresses: &[u8]| {
        let addresses = addresses.iter().map(|&last| [10, 0, 0, last].into());
        Resolution::Found(addresses.collect())
    };
    names.answer("c", found(&[3, 4]));
    names.answer("d", found(&[1]));
    names.answer("e", Resolution::Unknown);
    let table = Table::new(Arc::clone(table.files()), &names, &LookedUp::default());
    let c = |last| (last, "c");
    assert_eq!(served(&table), [(1, "a"), c(2), c(3), c(4), (5, "b")]);
    assert_eq!(table.unresolved().collect::<Vec<_>>(), ["d", "e"]);
    let [malformed, conflict] = table.warnings() else {
        panic!("{:?}", table.warnings())
    };
    assert!(
        malformed.text.contains("left out: 1, the first is line 3;"),
        "{malformed}"
    );
    assert!(
        conflict
            .text
            .starts_with("10.0.0.1 is an address of both a (record 1) and d (record 3); a,"),
        "{conflict}"
    );
}

#[test]
fn a_client_that_was_looked_up_is_the_node_of_its_name() {
    let nodes = [("a", "w"), ("B.cluster", ""), ("bad", "../x")];
    let files = load(&config(&nodes), Some("10.0.0.1 a"), &["-ib0"]).unwrap();
    let mut looked_up = LookedUp::default();
    for (last, name) in [
        (1, "b.cluster"),
        (2, "A"),
        (3, "a.cluster"),
        (4, "a-ib0.cluster"),
        (5, "b-ib0.cluster"),
        (6, "b"),
        (7, "bad.cluster"),
        (8, "stranger"),
    ] {
        let name = Resolution::Found(name.to_owned());
        looked_up.answer([10, 0, 0, last].into(), name, Instant::now());
    }
    let table = Table::new(Arc::clone(files.files()), &Names::default(), &looked_up);
    let a = |last| (last, "a");
    assert_eq!(served(&table), [a(1), a(2), a(3), a(4), (5, "B.cluster")]);
    assert_eq!(table.denied(), [Ipv4Addr::new(10, 0, 0, 7)]);
    assert!(table.warnings().is_empty(), "{:?}", table.warnings());
}

#[test]
fn a_node_whose_record_is_refused_is_known_by_its_address() {
    let nodes = [("bad", ".."), ("a", ""), ("twice", ".."), ("twice", "w")];
    let table = table(&nodes, "10.0.0.1 bad\n10.0.0.2 a\n10.0.0.3 twice");
    assert_eq!(served(&table), [(2, "a"), (3, "twice")]);
    assert_eq!(table.denied(), [Ipv4Addr::new(10, 0, 0, 1)]);
    assert_eq!((table.refused().len(), table.unresolved().len()), (2, 0));
    assert!(table.node([10, 0, 0, 1].into()).is_none());
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
        table.warnings()[0]
            .text
            .contains("both b (record 2) and a (record 1)"),
        "{:?}",
        table.warnings()
    );
}

#[test]
fn unresolved_names_are_told() {
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
            loaders: Loaders::default(),
            suffixes: Vec::new(),
            ethers: None,
        };
        for _ in 0..3 {
            let started = Instant::now();
            let table = load_from(&sources).unwrap();
            let loaded = started.elapsed();
            let started = Instant::now();
            let changes = changes(&Table::empty(), &table);
            let compared = started.elapsed();
            let started = Instant::now();
            let same = super::changes(&table, &table.clone());
            println!(
                "{count}: load {loaded:?}, compare {compared:?}, {:?}",
                started.elapsed()
            );
            assert_eq!(
                (changes.added.count, same),
                (count as usize, Changes::default())
            );
        }
    }
}

#[test]
fn disabled_nodes_are_denied_with_or_without_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    fs::write(path("cfg"), config(&[("a", "w"), ("b", "w"), ("c", "w")])).unwrap();
    fs::write(
        path("hosts"),
        "10.0.0.1 a\n10.0.0.2 b\n10.0.0.4 d\n10.0.0.5 e.x d\n",
    )
    .unwrap();
    fs::write(path("cfg.disabled"), "B\nc\nd\nnot one\n").unwrap();
    let sources = Sources {
        config: path("cfg"),
        hosts: path("hosts"),
        tftp_root: "/tftpboot".into(),
        loaders: Loaders::default(),
        suffixes: Vec::new(),
        ethers: None,
    };
    let table = load_from(&sources).unwrap();
    assert_eq!(served(&table), [(1, "a")]);
    assert_eq!(
        table.denied(),
        [2, 4, 5].map(|host| Ipv4Addr::new(10, 0, 0, host))
    );
    assert_eq!((table.unresolved().len(), table.refused().len()), (0, 0));
    let [no_record, malformed] = table.warnings() else {
        panic!("{:?}", table.warnings());
    };
    assert!(
        no_record
            .text
            .contains("cfg.disabled, line 3: there is no record of d:")
    );
    assert!(
        malformed
            .text
            .contains("cfg.disabled, line 4: ' ' cannot be in")
    );
    // Its name is asked for, because only then can its address be denied.
    assert_eq!(table.files().wanted().collect::<Vec<_>>(), ["c"]);

    fs::remove_file(path("cfg.disabled")).unwrap();
    fs::create_dir(path("cfg.disabled")).unwrap();
    assert!(matches!(load_from(&sources), Err(LoadError::Beside(_))));
}

#[test]
fn an_address_stays_with_the_name_that_the_dns_gave_it_first() {
    let address = Ipv4Addr::new(10, 0, 0, 9);
    let files = table(&[("a", "w"), ("b", "x")], "");
    let files = files.files();
    let found = || Resolution::Found(vec![address]);
    let owner = |names: &Names| {
        let table = Table::new(Arc::clone(files), names, &LookedUp::default());
        let is_shared = names.addresses("a") == names.addresses("b");
        assert_eq!(table.warnings().len(), usize::from(is_shared));
        table.node(address).map(|node| node.name.to_owned())
    };
    let now = Instant::now();
    let mut names = Names::default().of(files.wanted(), now);
    names.answer("b", found());
    assert_eq!(owner(&names).as_deref(), Some("b"));
    // Whoever writes a's record later does not get it, and neither by the next look-up.
    let mut names = names.of(files.wanted(), now);
    names.answer("a", found());
    names.answer("b", found());
    assert_eq!(owner(&names).as_deref(), Some("b"));
    let mut names = names.of(files.wanted(), now);
    names.answer("b", Resolution::Found(vec![Ipv4Addr::new(10, 0, 0, 8)]));
    assert_eq!(owner(&names).as_deref(), Some("a"));
    // Nor by a restart.
    let mut names = Names::default().of(files.wanted(), now);
    names.keep("b", vec![address]);
    names.answer("a", found());
    assert_eq!(owner(&names).as_deref(), Some("b"));
    // Of two that were always there, the first record wins.
    let mut names = Names::default().of(files.wanted(), now);
    names.answer("b", found());
    names.answer("a", found());
    assert_eq!(owner(&names).as_deref(), Some("a"));
}

#[test]
fn a_node_has_its_own_addresses_whatever_the_hosts_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let config = config(&[("a", "x"), ("b", "y")]);
    fs::write(path("proxydhcp.cfg"), config).unwrap();
    fs::write(path("proxydhcp.cfg.hosts"), "10.0.0.1 a\nnothing\n").unwrap();
    fs::write(path("hosts"), "10.0.0.1 b\n10.0.0.2 b\n").unwrap();
    let table = load_from(&Sources {
        config: path("proxydhcp.cfg"),
        hosts: path("hosts"),
        tftp_root: "/tftpboot".into(),
        loaders: Loaders::default(),
        suffixes: Vec::new(),
        ethers: None,
    })
    .unwrap();
    assert_eq!(served(&table), [(1, "a"), (2, "b")]);
    let is_told = |what: &str| {
        let mut warnings = table.warnings().iter();
        warnings.any(|warning| warning.text.contains(what))
    };
    assert!(is_told("10.0.0.1 is an address of both a (record 1) and b"));
    assert!(is_told(
        "proxydhcp.cfg.hosts: malformed lines are left out: 1"
    ));
}

#[test]
fn what_nodes_boot_changes_without_joining_them_again() {
    let sources = Sources {
        config: "/nowhere/proxydhcp.cfg".into(),
        hosts: "/nowhere/hosts".into(),
        tftp_root: "/tftpboot".into(),
        loaders: Loaders::default(),
        suffixes: Vec::new(),
        ethers: None,
    };
    let texts = |nodes: &[(&str, &str)], disabled: &str| Texts {
        records: config(nodes),
        disabled: disabled.to_owned(),
        hardware: "n3 mac=52:54:00:00:00:03\n".to_owned(),
        hosts: b"10.0.0.1 n1\n10.0.0.2 n2\n10.0.0.3 n3\n10.0.0.4 N4\n".to_vec(),
        ..Texts::default()
    };
    let before = texts(&[("N4", "a"), ("n1", "a"), ("n2", "b"), ("n3", "")], "n3\n");
    let files = Files::of(&before, &sources).unwrap();
    let rules = sources.rules();
    for (nodes, disabled) in [
        (&[("n2", "c"), ("n3", "a/")][..], ""),
        (&[("n1", "a"), ("n2", "b")], "n1\n"),
        (&[("n1", "b"), ("N4", "b")], ""),
        (&[("n3", "")], "n3\n"),
    ] {
        let changed = Texts {
            records: config(nodes),
            disabled: disabled.to_owned(),
            ..Texts::default()
        };
        let anew = Files::of(&before.with(&changed).unwrap(), &sources).unwrap();
        let anew = Table::of_files(Arc::new(anew));
        let changed = files.with(&changed, rules).unwrap();
        assert!(changed.has_nodes_of(&files));
        let changed = Table::of_files(Arc::new(changed));
        assert_eq!(changes(&anew, &changed), Changes::default(), "{nodes:?}");
        assert_eq!(changed.served(), anew.served());
        assert_eq!(changed.winpes().len(), anew.winpes().len(), "{nodes:?}");
        assert_eq!(changed.warnings(), anew.warnings());
        assert_eq!(changed.denied(), anew.denied(), "{nodes:?}");
    }
    // Who is new, or written in another case, may be another.
    for name in ["n5", "n4"] {
        let changed = Texts {
            records: config(&[(name, "a")]),
            ..Texts::default()
        };
        assert!(files.with(&changed, rules).is_none(), "{name}");
    }
}

#[test]
fn what_boots_something_else_is_not_joined_again() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    let ethers = folder.path().join("ethers");
    let mut sources = Sources {
        config: folder.path().join("proxydhcp.cfg"),
        hosts: hosts.clone(),
        tftp_root: "/tftpboot".into(),
        loaders: Loaders::default(),
        suffixes: Vec::new(),
        ethers: Some(ethers.clone()),
    };
    let texts = |nodes: &[(&str, &str)], disabled: &str| Texts {
        records: config(nodes),
        disabled: disabled.to_owned(),
        hosts: b"10.0.0.1 n1\n".to_vec(),
        ..Texts::default()
    };
    let usual: &[(&str, &str)] = &[("n1", "a"), ("n2", "b"), ("n3", "")];
    fs::write(&hosts, "10.0.0.2 n2\n10.0.0.3 n3\n10.0.0.9 n1-ib0\n").unwrap();
    fs::write(&ethers, "52:54:00:00:00:01 n1\n").unwrap();
    let before = Files::of(&texts(usual, "n3\nn9\n"), &sources).unwrap();
    let check = |before: &Files, texts: &Texts, sources: &Sources, is_same: bool| {
        let config = &sources.config;
        fs::write(config, &texts.records).unwrap();
        for (path, text) in texts.files(config) {
            fs::write(path, text.unwrap_or_default()).unwrap();
        }
        let anew = Table::of_files(Arc::new(Files::of(texts, sources).unwrap()));
        let old = Table::of_files(Arc::new(before.clone()));
        let after = [
            Files::following(Some(before), texts, sources).unwrap(),
            Files::read_following(Some(before), sources).unwrap(),
        ];
        for after in &after {
            assert_eq!(after.has_nodes_of(before), is_same);
            let table = Table::of_files(Arc::new(after.clone()));
            assert_eq!(changes(&anew, &table), Changes::default());
            assert_eq!(changes(&old, &table), changes(&old, &anew));
            assert_eq!(table.served(), anew.served());
            assert_eq!(table.len(), anew.len());
            assert_eq!(table.winpes(), anew.winpes());
            assert_eq!(table.warnings(), anew.warnings());
            assert_eq!(table.denied(), anew.denied());
            assert!(table.hardware().eq(anew.hardware()));
        }
        after.into_iter().next().unwrap()
    };
    let others: &[(&str, &str)] = &[("n1", "c"), ("n2", "a/"), ("n3", "c")];
    let after = check(&before, &texts(others, "n3\nn9\n"), &sources, true);
    check(&after, &texts(usual, "n3\nn9\n"), &sources, true);
    for nodes in [
        &[("n1", "a"), ("n2", "b")][..],
        &[("n1", "a"), ("n3", "b"), ("n2", "")],
        &[("n1", "a"), ("n2", "b"), ("N3", "")],
        &[("n1", "a"), ("n2", "b"), ("n3", ""), ("n4", "")],
        &[("n1", "a"), ("n2", "../x"), ("n3", "")],
        &[("n1", "a"), ("n1", "b"), ("n3", "")],
    ] {
        let after = check(&before, &texts(nodes, "n3\nn9\n"), &sources, false);
        check(&after, &texts(usual, "n3\nn9\n"), &sources, false);
    }
    for disabled in ["", "n3\n", "n1\nn9\n"] {
        check(&before, &texts(usual, disabled), &sources, false);
    }
    // Who was disabled by a change of its own is not for ever.
    let of_n1 = Texts {
        records: config(&[("n1", "a")]),
        disabled: "n1\n".to_owned(),
        ..Texts::default()
    };
    let without = before.with(&of_n1, sources.rules()).unwrap();
    check(&without, &texts(usual, "n3\nn9\n"), &sources, true);
    // Bytes behind a text are for a warning.
    let mut leftover = texts(usual, "n3\nn9\n");
    leftover.records[NAME - 1] = b'x';
    check(&before, &leftover, &sources, false);
    let mut elsewhere = texts(usual, "n3\nn9\n");
    elsewhere.hosts = b"10.0.0.7 n1\n".to_vec();
    check(&before, &elsewhere, &sources, false);
    sources.suffixes = vec!["-ib0".to_owned()];
    check(&before, &texts(usual, "n3\nn9\n"), &sources, false);
    sources.suffixes = Vec::new();
    fs::write(&ethers, "52:54:00:00:00:02 n1\n").unwrap();
    check(&before, &texts(usual, "n3\nn9\n"), &sources, false);
    fs::write(&ethers, "52:54:00:00:00:01 n1\n").unwrap();
    check(&before, &texts(usual, "n3\nn9\n"), &sources, true);
    fs::write(&hosts, "10.0.0.2 n2\n10.0.0.4 n3\n").unwrap();
    check(&before, &texts(usual, "n3\nn9\n"), &sources, false);
    // Of the same size, at the same moment.
    fs::write(&hosts, "10.0.0.2 n2\n10.0.0.3 n3\n10.0.0.8 n1-ib0\n").unwrap();
    check(&before, &texts(usual, "n3\nn9\n"), &sources, false);
}

#[test]
fn half_a_record_and_a_missing_file_are_errors_though_the_nodes_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let config_path = folder.path().join("proxydhcp.cfg");
    let sources = Sources {
        config: config_path.clone(),
        hosts: folder.path().join("hosts"),
        tftp_root: "/tftpboot".into(),
        loaders: Loaders::default(),
        suffixes: Vec::new(),
        ethers: None,
    };
    let mut records = config(&[("n1", "a"), ("n2", "b")]);
    fs::write(&config_path, &records).unwrap();
    let before = Files::read(&sources).unwrap();
    // As while a writer is not done.
    records.pop();
    fs::write(&config_path, records).unwrap();
    let read = Files::read_following(Some(&before), &sources);
    assert!(matches!(
        read,
        Err(LoadError::Config(CfgError::Size { .. }))
    ));
    fs::remove_file(&config_path).unwrap();
    let read = Files::read_following(Some(&before), &sources);
    assert!(read.unwrap_err().is_missing());
}
