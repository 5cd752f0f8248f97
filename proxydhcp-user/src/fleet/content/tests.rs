use std::path::Path;

use super::*;

fn rules() -> Rules<'static> {
    Rules::within(Path::new("/tftpboot"))
}

fn content(nodes: &[(&str, &str)]) -> Content {
    let mut content = Content::default();
    for (name, value) in nodes {
        content.insert(name, value.as_bytes(), 1);
    }
    content
}

const UUID: &str = "4c4c4544-0042-3510-8054-b9c04f4d3233";

#[test]
fn files_and_keys_say_the_same() {
    let uuid = format!(r#"{{"uuids":["{UUID}"]}}"#);
    let content = content(&[
        (
            "n1",
            r#"{"winpe":"winboot/x","addresses":["10.0.0.1","10.0.0.2"]}"#,
        ),
        ("n2", r#"{"winpe":"","disabled":true}"#),
        ("n3", r#"{"disabled":true}"#),
        (
            "n4",
            r#"{"winpe":"a","macs":["52:54:00:00:00:04","52:54:00:00:00:05"]}"#,
        ),
        ("n5", &uuid),
    ]);
    let (texts, bad) = content.texts(rules());
    assert_eq!(bad, []);
    assert_eq!(texts.records.len(), 3 * cfg::RECORD);
    assert_eq!(texts.disabled, "n2\nn3\n");
    let macs = "n4 mac=52:54:00:00:00:04,52:54:00:00:00:05\n";
    assert_eq!(texts.hardware, format!("{macs}n5 uuid={UUID}\n"));
    assert_eq!(texts.hosts, b"10.0.0.1 n1\n10.0.0.2 n1\n");
    let again = Content::default().with(&texts, rules()).unwrap();
    assert_eq!(again.hash(), content.hash());
    let same = content.with(&texts, rules()).unwrap();
    assert_eq!(same, content);
}

#[test]
fn what_a_person_has_written_stays_as_it_is() {
    let written = r#"{ "disabled": false, "winpe": "winboot/x" }"#;
    let content = content(&[("n1", written), ("n2", r#"{"winpe":""}"#)]);
    let (mut texts, _) = content.texts(rules());
    texts.disabled.push_str("N2\n");
    let new = content.with(&texts, rules()).unwrap();
    assert_eq!(&*new.get("n1").unwrap().bytes, written.as_bytes());
    let difference = content.difference(&new);
    assert_eq!(
        difference.put,
        [(Item::Node("n2"), &br#"{"winpe":"","disabled":true}"#[..])]
    );
    assert_eq!(difference.delete, []);
}

#[test]
fn a_bad_node_costs_itself_and_gets_no_answer() {
    let long = "x".repeat(200);
    let long_path = format!(r#"{{"winpe":"{long}"}}"#);
    let content = content(&[
        ("bad-json", "{"),
        ("bad-path", r#"{"winpe":"../etc"}"#),
        ("bad-root", r#"{"winpe":"/etc/x"}"#),
        ("long-path", &long_path),
        ("sound", r#"{"winpe":"winboot/x"}"#),
        ("with space", r#"{"winpe":"winboot/x"}"#),
        ("n[1-2]", r#"{"disabled":true}"#),
        ("with=sign", r#"{"winpe":"a","macs":["52:54:00:00:00:04"]}"#),
        ("with#sign", r#"{"winpe":"winboot/x"}"#),
        (&long, r#"{"winpe":"winboot/x"}"#),
    ]);
    let (texts, bad) = content.texts(rules());
    let names: Vec<_> = bad.iter().map(|bad| bad.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "bad-json",
            "bad-path",
            "bad-root",
            "long-path",
            "n[1-2]",
            "with space",
            "with#sign",
            "with=sign",
            &long
        ]
    );
    assert!(bad[1].why.contains("has a '..'"), "{bad:?}");
    let parsed = cfg::parse(&texts.records, rules());
    assert_eq!(parsed.refused, []);
    let names: Vec<_> = parsed.records.iter().map(|record| record.name).collect();
    assert_eq!(
        names,
        [
            "bad-json",
            "bad-path",
            "bad-root",
            "long-path",
            "n[1-2]",
            "sound",
            "with=sign"
        ]
    );
    let disabled = Disabled::parse(&texts.disabled, || cfg::names(&texts.records));
    for name in names {
        assert_eq!(disabled.contains(name), name != "sound", "{name}");
    }
    // They stay as they are while others change.
    let kept = content.with(&texts, rules()).unwrap();
    assert_eq!(kept.get("bad-path"), content.get("bad-path"));
    assert_eq!(kept.get("bad-json"), content.get("bad-json"));
}

#[test]
fn a_hash_follows_each_change_and_no_order() {
    let a = content(&[("n1", "a"), ("n2", "b")]);
    let mut b = content(&[("n2", "x"), ("n3", "y"), ("n1", "a")]);
    assert_ne!(a.hash(), b.hash());
    b.remove("n3");
    b.remove("n4");
    b.insert("n2", b"b", 7);
    assert_eq!(a.hash(), b.hash());
    b.remove("n1");
    b.remove("n2");
    assert_eq!(b.hash(), Content::default().hash());
    // Names and values are not mixed up.
    assert_ne!(
        content(&[("ab", "c")]).hash(),
        content(&[("a", "bc")]).hash()
    );
}

#[test]
fn what_would_be_lost_of_a_file_is_an_error() {
    let (sound, _) = content(&[("n1", r#"{"winpe":"winboot/x"}"#)]).texts(rules());
    let refused = |change: &dyn Fn(&mut Texts)| {
        let mut texts = sound.clone();
        change(&mut texts);
        format!(
            "{:#}",
            Content::default().with(&texts, rules()).unwrap_err()
        )
    };
    let error = refused(&|texts| texts.records[cfg::RECORD - 150] = b'/');
    assert!(error.contains("record 1 (n1) is refused"), "{error}");
    let error = refused(&|texts| texts.disabled.push_str("n1\nn[2\n"));
    assert!(error.contains("line 2"), "{error}");
    let error = refused(&|texts| texts.hardware.push_str("n1 mac=1\n"));
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn groups_are_lines_of_a_file_and_a_bad_one_costs_itself_alone() {
    let mut content = content(&[("n1", r#"{"winpe":"a"}"#)]);
    let without = content.hash();
    let rack = r#"{ "ranges": ["n[1-9]", "@old"] }"#;
    content.put(Item::Group("rack1"), rack.as_bytes(), 1);
    content.put(Item::Group("bad"), b"{}", 1);
    let (mut texts, bad) = content.texts(rules());
    assert_eq!(
        texts.groups.as_deref(),
        Some("rack1: n[1-9]\nrack1: @old\n")
    );
    assert_eq!(bad.len(), 1);
    assert!(bad[0].to_string().starts_with("group bad is refused: "));
    // Without such a file, they stay; what says the same stays as it was written.
    texts.groups = None;
    assert_eq!(content.with(&texts, rules()).unwrap(), content);
    texts.groups = Some("rack1: n[1-9]\nrack1: @old\nnew: n1\n".to_owned());
    let new = content.with(&texts, rules()).unwrap();
    let difference = content.difference(&new);
    assert_eq!(
        difference.put,
        [(Item::Group("new"), &br#"{"ranges":["n1"]}"#[..])]
    );
    assert_eq!(difference.delete, [Item::Group("bad")]);
    texts.groups = Some(String::new());
    assert_eq!(content.with(&texts, rules()).unwrap().hash(), without);
    texts.groups = Some("no group\n".to_owned());
    assert!(content.with(&texts, rules()).is_err());
}

#[test]
fn settings_are_lines_of_a_file_and_rules_for_paths() {
    let long = "x".repeat(100);
    let mut content = content(&[("n1", &format!(r#"{{"winpe":"{long}"}}"#))]);
    let (texts, bad) = content.texts(rules());
    assert_eq!((texts.settings, bad), (None, vec![]));
    let unknown = br#" "default" "#;
    content.put(Item::Setting("unknown"), unknown, 1);
    content.put(Item::Setting("next-server"), br#""10.0.0.1""#, 1);
    let path = format!(r#"{{"9":"Boot/{}.efi"}}"#, "y".repeat(40));
    content.put(Item::Setting("loaders"), path.as_bytes(), 1);
    let (mut texts, bad) = content.texts(rules());
    let settings = texts.settings.clone().unwrap();
    assert!(
        settings.starts_with("unknown = \"default\"\n\n[loaders]\n9 = "),
        "{settings}"
    );
    // The longer loader leaves less room for the path.
    let names: Vec<_> = bad.iter().map(|bad| (bad.kind, &*bad.name)).collect();
    assert_eq!(names, [(Kind::Node, "n1"), (Kind::Setting, "next-server")]);
    // Without such a file, they stay; what says the same stays as it was written.
    texts.settings = None;
    assert_eq!(content.with(&texts, rules()).unwrap(), content);
    content.remove("n1");
    texts = Texts::default();
    texts.settings = Some("unknown = \"default\"\nsuffix = [\"-ib0\"]\n".to_owned());
    let new = content.with(&texts, rules()).unwrap();
    let difference = content.difference(&new);
    assert_eq!(
        difference.put,
        [(Item::Setting("suffix"), &br#"["-ib0"]"#[..])]
    );
    let gone = ["loaders", "next-server"].map(Item::Setting);
    assert_eq!(difference.delete, gone);
    texts.settings = Some(String::new());
    assert_eq!(content.with(&texts, rules()).unwrap(), Content::default());
    texts.settings = Some("unknown = 1\n".to_owned());
    let error = content.with(&texts, rules()).unwrap_err().to_string();
    assert!(
        error.starts_with("the file of settings: line 1: "),
        "{error}"
    );
}

#[test]
fn an_empty_value_says_that_there_is_none_and_which_key_says_so() {
    let mut content = content(&[("n1", "a"), ("n2", "b")]);
    let without = self::content(&[("n2", "b")]).hash();
    let n1 = Item::Node("n1");
    assert_eq!(content.written_by(n1), 1);
    let old = content.put(n1, b"", 7).unwrap();
    assert_eq!((&*old.bytes, old.revision), (&b"a"[..], 1));
    assert_eq!((content.hash(), content.len()), (without, 1));
    assert_eq!(content.written_by(n1), 7);
    // A group of this name is another item.
    assert_eq!(content.written_by(Item::Group("n1")), 0);
    // It may be said twice, and be there again.
    assert_eq!(content.put(n1, b"", 8), None);
    assert_eq!(content.written_by(n1), 8);
    content.put(n1, b"c", 9);
    assert_eq!((content.written_by(n1), content.len()), (9, 2));
    content.remove("n1");
    assert_eq!(content.written_by(n1), 0);
}
