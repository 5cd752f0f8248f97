//! `proxydhcp node`: its effects on the files, and its messages about them.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{Ended, alone, binary};
use serde_json::{Value, json};

use crate::node::{config, node, said};

#[test]
fn without_a_daemon_the_files_are_written_all_the_same() -> Result<()> {
    let files = Files::new()?;
    files.write_hosts(&[("10.77.1.8", "n08"), ("10.77.1.10", "x n10.cluster")])?;
    let set = node(&files, &["set", "n[08-10],-n09", "winpepath=winboot/x"])?;
    assert_eq!(set.code, Some(0), "{set:?}");
    assert_eq!(
        set.stdout,
        "added n08: winboot/x/\nadded n10: winboot/x/\n2 added, 0 changed, 0 removed, 0 unchanged\n"
    );
    let socket = files.path("control.sock").display().to_string();
    let told = format!("no daemon listens on {socket}; the file is read at its next start\n");
    assert_eq!(set.stderr, told);
    let expected = cfg_bytes([("n08", "winboot/x/"), ("n10", "winboot/x/")])?;
    assert_eq!(config(&files)?, expected);
    Ok(())
}

#[test]
fn records_that_are_not_named_keep_their_bytes_and_places() -> Result<()> {
    let files = Files::new()?;
    let mut bytes = cfg_bytes([
        ("a", "winboot/a"),
        ("b", ".."),
        ("c", ""),
        ("", "x"),
        ("d", "y"),
    ])?;
    bytes[60..200].fill(b'!');
    bytes[59] = 0;
    files.write_raw_config(&bytes)?;
    assert_eq!(
        node(&files, &["set", "c", "winpepath=winboot/c"])?.code,
        Some(0)
    );
    let mut expected = bytes.clone();
    expected[400..600].copy_from_slice(&cfg_bytes([("c", "winboot/c/")])?);
    assert_eq!(config(&files)?, expected);
    assert_eq!(node(&files, &["rm", "c"])?.code, Some(0));
    expected.drain(400..600);
    assert_eq!(config(&files)?, expected);
    Ok(())
}

#[test]
fn what_the_daemon_would_refuse_is_not_written() -> Result<()> {
    let files = Files::usual()?;
    let before = config(&files)?;
    let long = format!("winpepath={}", "x".repeat(110));
    for (attribute, reason) in [
        ("winpepath=/etc", "is outside the TFTP root /tftpboot"),
        ("winpepath=winboot/../x", "has a '..'"),
        ("winpepath=winboot/\tx", "control character"),
        (&long, "1 shorter"),
        ("winpepth=x", "winpepth=x: set winpepath=PATH"),
        ("supportproxydhcp=maybe", "supportproxydhcp is yes or no"),
        ("c", "c: set winpepath=PATH"),
    ] {
        let ended = node(&files, &["set", "a,c", attribute])?;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{ended:?}"
        );
        assert!(
            ended.stderr.starts_with("proxydhcp: ") && ended.stderr.contains(reason),
            "{ended:?}"
        );
    }
    let root = node(
        &files,
        &["set", "a", "winpepath=/srv/x", "--tftp-root", "/srv"],
    )?;
    assert!(
        root.stdout.starts_with("changed a: winboot/a/ -> x/\n"),
        "{root:?}"
    );
    files.write_raw_config(&before)?;

    // A file that is cut off is not added to.
    files.write_raw_config(&before[..300])?;
    let half = node(&files, &["set", "a", "winpepath=x"])?;
    assert!(
        half.stderr.contains("300 bytes is not a multiple"),
        "{half:?}"
    );
    assert_eq!(
        (half.code, config(&files)?),
        (Some(1), before[..300].to_vec())
    );
    Ok(())
}

#[test]
fn a_caret_shows_what_is_wrong_with_a_range() -> Result<()> {
    let files = Files::usual()?;
    let before = config(&files)?;
    let groups = files.path("groups");
    fs::write(&groups, "# racks\nrack1: n[01-\n")?;
    let groups = groups.display().to_string();
    for (range, said) in [
        (
            "n1,n[10-01]",
            "noderange: the range runs backwards: the lower number comes first\n  n1,n[10-01]\n       ^\n",
        ),
        (
            "n[01-10",
            "noderange: this bracket is not closed\n  n[01-10\n   ^\n",
        ),
        (
            "-n1 n2",
            "noderange: ' ' cannot be in a node name\n  -n1 n2\n     ^\n",
        ),
        (
            "n[0-99999999999]",
            "noderange: the noderange has more than 1000000 names: name fewer at a time\n  n[0-99999999999]\n  ^\n",
        ),
        (
            "/n(",
            "noderange: the regular expression is wrong: unclosed group\n  /n(\n  ^\n",
        ),
    ] {
        for args in [
            &["set", range, "winpepath=x"][..],
            &["rm", range],
            &["list", range],
        ] {
            let ended = node(&files, args)?;
            assert_eq!(
                (ended.code, ended.stdout.as_str()),
                (Some(1), ""),
                "{ended:?}"
            );
            assert_eq!(ended.stderr, format!("proxydhcp: {said}"));
        }
    }
    let ended = node(&files, &["list", "a,@rack1", "--groups", &groups])?;
    let said = format!(
        "proxydhcp: noderange (group rack1, line 2 of {groups}): this bracket is not closed\n  n[01-\n   ^\n"
    );
    assert_eq!(ended.stderr, said);
    // A mistyped option is not taken for a range.
    let ended = node(&files, &["rm", "--dryrun"])?;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(
        ended.stderr.contains("there is no such option"),
        "{ended:?}"
    );
    let ended = node(&files, &["rm", "-a"])?;
    assert_eq!(ended.stderr, "proxydhcp: the noderange -a has no nodes\n");
    assert_eq!(config(&files)?, before);
    Ok(())
}

#[test]
fn groups_and_files_of_names() -> Result<()> {
    let files = Files::usual()?;
    fs::write(files.path("groups"), "one: n[1-2]\nall: @one,/.*\n")?;
    fs::write(files.path("names"), "# mine\nn7\nn[8-9]  # spare\n")?;
    let [groups, names] = ["groups", "names"].map(|name| files.path(name).display().to_string());
    let range = format!("@all,^{names},-default");
    let set = node(&files, &["set", &range, "winpepath=", "--groups", &groups])?;
    assert!(
        set.stdout
            .contains("5 added, 2 changed, 0 removed, 0 unchanged"),
        "{set:?}"
    );
    let list = said(
        &files,
        &["list", "@one,-n1,^/dev/null", "--groups", &groups],
    );
    assert!(list.is_err_and(|error| error.to_string().contains("/dev/null: not a regular file")));
    let list = node(&files, &["list", "n1,@two", "--groups", &groups])?;
    assert!(
        list.stderr.contains(&format!(
            "there is no group two in {groups}; it has all, one\n"
        )),
        "{list:?}"
    );
    let list = node(&files, &["list", "--groups", "/nonexistent/groups", "a"])?;
    assert_eq!(
        list.stderr,
        "proxydhcp: /nonexistent/groups: no such file; check --groups\n"
    );
    Ok(())
}

#[test]
fn nodes_are_listed_for_people_and_programs() -> Result<()> {
    let files = Files::usual()?;
    files.write_config(&[
        ("a", "winboot/old"),
        ("b", "../x"),
        ("A", "winboot/a"),
        ("c", ""),
    ])?;
    let list = said(&files, &["list"])?;
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 4, "{list}");
    assert!(
        lines[1]
            .starts_with("b     yes               ../x  REFUSED: the WinPE path ../x has a '..'"),
        "{list}"
    );
    assert_eq!(lines[2], "A     yes               winboot/a");

    let list = node(&files, &["list", "c,a,n[1-2],b", "--json", "--limit", "2"])?;
    let rows: Value = serde_json::from_str(&list.stdout)?;
    assert_eq!(
        rows,
        json!([
            {"node": "c", "winpepath": "", "supportproxydhcp": true, "refused": null},
            {"node": "A", "winpepath": "winboot/a", "supportproxydhcp": true, "refused": null},
        ])
    );
    assert_eq!(
        list.stderr,
        "proxydhcp: shown: 2 of 3\nproxydhcp: no such node: n1, n2\n"
    );
    assert_eq!(list.code, Some(1));
    let none = node(&Files::new()?, &["list"])?;
    assert!(
        none.stderr.contains("proxydhcp.cfg: no such file"),
        "{none:?}"
    );
    for help in ["set", "rm", "list", "prune"] {
        let help = Command::new(binary()?)
            .args(["node", help, "--help"])
            .output()?;
        let help = Ended::from(help);
        assert!(
            help.stdout.contains("\nExamples:\n  proxydhcp node "),
            "{help:?}"
        );
    }
    Ok(())
}

#[test]
fn a_hundred_thousand_nodes_are_set_at_once() -> Result<()> {
    let _alone = alone();
    let files = Files::new()?;
    let started = Instant::now();
    let set = node(&files, &["set", "n[000001-100000]", "winpepath=winboot/x"])?;
    println!("node set of 100,000 nodes: {:?}", started.elapsed());
    assert!(
        set.stdout
            .ends_with("added 99980 more\n100000 added, 0 changed, 0 removed, 0 unchanged\n"),
        "{set:?}"
    );
    assert_eq!(config(&files)?.len(), 20_000_000);
    let started = Instant::now();
    let list = said(&files, &["list", "--limit", "1"]);
    println!("node list --limit 1 of them: {:?}", started.elapsed());
    // stderr says that there are more.
    assert!(list.is_err_and(|error| error.to_string().contains("shown: 1 of 100000")));
    let started = Instant::now();
    let rm = node(&files, &["rm", "/n0[0-4].*"])?;
    println!(
        "node rm of half of them by a regular expression: {:?}",
        started.elapsed()
    );
    assert!(rm.stdout.contains("49999 removed"), "{rm:?}");
    Ok(())
}
