//! `proxydhcp node`: what an administrator sets is served from the next request on.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, NODE_DEFAULT, STRANGER, Site};
use proxydhcp_lab::{RequestFrame, binary};
use serde_json::{Value, json};

use crate::DATAPATHS;
use crate::alone::alone;
use crate::ended::Ended;

/// A hang is told, and nothing else.
const PATIENCE: Duration = Duration::from_secs(20);

/// `proxydhcp node` with these arguments, on these files.
pub(crate) fn command(files: &Files, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.arg("node").args(args);
    for (flag, file) in [
        ("--config", "proxydhcp.cfg"),
        ("--control", "control.sock"),
        ("--settings", "proxydhcp.toml"),
    ] {
        command.arg(flag).arg(files.path(file));
    }
    Ok(command)
}

fn node(files: &Files, args: &[&str]) -> Result<Ended> {
    Ok(Ended::new(&command(files, args)?.output()?))
}

/// What it has printed, where it has succeeded without a complaint.
fn said(files: &Files, args: &[&str]) -> Result<String> {
    let ended = node(files, args)?;
    ensure!(
        (ended.code, ended.stderr.as_str()) == (Some(0), ""),
        "{args:?}: {ended:?}"
    );
    Ok(ended.stdout)
}

fn config(files: &Files) -> Result<Vec<u8>> {
    Ok(fs::read(files.path("proxydhcp.cfg"))?)
}

#[test]
fn a_node_boots_what_it_was_set_from_the_next_request_on() -> Result<()> {
    for datapath in DATAPATHS {
        let mut site = Site::usual(datapath)?;
        site.ask(&RequestFrame::edk2(NODE_B, 7), "winboot/b/", 7)?;

        let set = ["set", "b,default", "winpepath=/tftpboot/winboot/new"];
        let would = "changed b: winboot/b → winboot/new/\n\
            changed default: (default) → winboot/new/\n\
            0 added, 2 changed, 0 removed, 0 unchanged";
        let before = config(&site.files)?;
        let dry = said(&site.files, &[&set[..], &["--dry-run"]].concat())?;
        assert_eq!(dry, format!("{would}; dry run, nothing is written\n"));
        assert_eq!(config(&site.files)?, before);
        site.ask(&RequestFrame::edk2(NODE_B, 7), "winboot/b/", 7)?;

        let done = said(&site.files, &set)?;
        assert_eq!(
            done,
            format!("{would}\nin service: generation 2, 3 addresses\n")
        );
        site.ask(&RequestFrame::edk2(NODE_B, 7), "winboot/new/", 7)?;
        site.ask(&RequestFrame::ipxe(NODE_DEFAULT, 0), "winboot/new/", 0)?;
        site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;

        // Whatever the spelling: it is so already, and nothing is written or reloaded.
        let again = said(&site.files, &["set", "B,a", "winpepath=winboot/new/"])?;
        let changed = "changed a: winboot/a/ → winboot/new/\n\
            0 added, 1 changed, 0 removed, 1 unchanged\n\
            in service: generation 3, 3 addresses\n";
        assert_eq!(again, changed);
        let again = said(&site.files, &["set", "B,a", "winpepath=winboot/new/"])?;
        assert_eq!(again, "0 added, 0 changed, 0 removed, 2 unchanged\n");
        assert_eq!(site.status()?["generation"], 3);

        let rm = said(&site.files, &["rm", "[7-8],/b|a,-a"])?;
        assert_eq!(
            rm,
            "removed b: winboot/new/\nnot there: 7, 8\n0 added, 0 changed, 1 removed, 0 unchanged\n\
             in service: generation 4, 2 addresses\n"
        );
        site.stays_silent(&RequestFrame::edk2(NODE_B, 7).bytes())?;
        said(&site.files, &["set", "b", "winpepath="])?;
        site.ask(&RequestFrame::edk2(NODE_B, 7), "", 7)?;
    }
    Ok(())
}

#[test]
fn disabled_nodes_get_no_answer_whatever_others_get() -> Result<()> {
    for datapath in DATAPATHS {
        let mut site = Site::with(datapath, &["--unknown", "default"])?;
        let [a, b, stranger] =
            [NODE_A, NODE_B, STRANGER].map(|address| RequestFrame::edk2(address, 7));
        let hosts = [
            ("10.77.1.1", "a"),
            ("10.77.1.2", "b"),
            ("10.77.1.3", "default"),
            ("10.77.9.9", "norecord"),
        ];
        site.files.write_hosts(&hosts)?;
        site.ask(&stranger, "", 7)?;

        let set = ["set", "a,norecord", "supportproxydhcp=no"];
        let disabled = "disabled a\ndisabled norecord\n\
            0 added, 0 changed, 0 removed, 2 disabled, 0 unchanged\n\
            in service: generation 2, 2 addresses\n";
        assert_eq!(said(&site.files, &set)?, disabled);
        site.stays_silent(&a.bytes())?;
        site.stays_silent(&stranger.bytes())?;
        site.ask(&b, "winboot/b/", 7)?;
        let list = said(&site.files, &["list"])?;
        assert_eq!(
            list,
            "NODE      SUPPORTPROXYDHCP  WINPEPATH\n\
             a         no                winboot/a/\n\
             b         yes               winboot/b\n\
             default   yes               (default)\n\
             norecord  no                (no record)\n"
        );

        // Its WinPE may be set meanwhile; it is for later.
        let set = said(&site.files, &["set", "a,b", "winpepath=winboot/c"])?;
        assert!(
            set.contains("still disabled (supportproxydhcp=no): a\n"),
            "{set}"
        );
        site.stays_silent(&a.bytes())?;
        site.ask(&b, "winboot/c/", 7)?;
        // It outlives every reload.
        assert_eq!(Ended::command(&site, &["reload"])?.code, Some(0));
        site.stays_silent(&a.bytes())?;

        let yes = said(&site.files, &["set", "a", "supportproxydhcp=yes"])?;
        assert!(yes.starts_with("enabled a\n"), "{yes}");
        site.ask(&a, "winboot/c/", 7)?;
        // What is forgotten is a stranger.
        let rm = said(&site.files, &["rm", "norecord,b"])?;
        assert!(
            rm.starts_with("removed norecord (was disabled)\nremoved b: winboot/c/\n"),
            "{rm}"
        );
        site.ask(&stranger, "", 7)?;
        site.ask(&b, "", 7)?;
    }
    Ok(())
}

#[test]
fn the_list_of_disabled_nodes_may_be_written_by_hand() -> Result<()> {
    let mut site = Site::with(Datapath::Generic, &["--unknown", "default", "--watch"])?;
    let generation = |site: &Site| -> Result<Value> { Ok(site.status()?["generation"].clone()) };
    let file = site.files.path("proxydhcp.cfg.disabled");
    fs::write(&file, "# in repair\na  # fan\nb c\n")?;
    let started = Instant::now();
    while generation(&site)? != 2 {
        ensure!(started.elapsed() < PATIENCE, "{}", site.daemon.log());
        thread::sleep(Duration::from_millis(5));
    }
    site.stays_silent(&RequestFrame::edk2(NODE_A, 7).bytes())?;
    site.ask(&RequestFrame::edk2(NODE_B, 7), "winboot/b/", 7)?;
    let warning = site.status()?["warnings"][0].to_string();
    assert!(
        warning.contains("cfg.disabled, line 3: not a node name"),
        "{warning}"
    );
    said(&site.files, &["set", "b", "supportproxydhcp=no"])?;
    said(&site.files, &["set", "a", "supportproxydhcp=yes"])?;
    assert_eq!(fs::read_to_string(&file)?, "# in repair\nb c\nb\n");
    Ok(())
}

#[test]
fn without_a_daemon_the_files_are_written_all_the_same() -> Result<()> {
    let files = Files::new()?;
    let set = node(&files, &["set", "n[08-10],-n09", "winpepath=winboot/x"])?;
    assert_eq!(set.code, Some(0), "{set:?}");
    assert_eq!(
        set.stdout,
        "added n08: winboot/x/\nadded n10: winboot/x/\n2 added, 0 changed, 0 removed, 0 unchanged\n"
    );
    let socket = files.path("control.sock").display().to_string();
    let told = format!("no daemon listens on {socket}; the next to start reads the file\n");
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
        (
            "winpepth=x",
            "winpepth=x: what is to be set is winpepath=PATH",
        ),
        ("supportproxydhcp=maybe", "supportproxydhcp is yes or no"),
        ("c", "c: what is to be set is"),
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
        root.stdout.starts_with("changed a: winboot/a/ → x/\n"),
        "{root:?}"
    );
    files.write_raw_config(&before)?;

    // Half a file is not built upon.
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
    // An option with a slip in it is no range.
    let ended = node(&files, &["rm", "--dryrun"])?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
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
        "proxydhcp: 1 nodes more, of 3\nproxydhcp: not there: n1, n2\n"
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
        let help = Ended::new(&help);
        assert!(
            help.stdout.contains("\nExamples:\n  proxydhcp node "),
            "{help:?}"
        );
    }
    Ok(())
}

#[test]
fn the_last_node_may_go() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    let rm = said(&site.files, &["rm", "/.*"])?;
    assert!(
        rm.ends_with("3 removed, 0 unchanged\nin service: generation 2, 0 addresses\n"),
        "{rm}"
    );
    site.stays_silent(&RequestFrame::edk2(NODE_A, 7).bytes())?;
    said(&site.files, &["set", "a", "winpepath=winboot/a"])?;
    site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    said(&site.files, &["set", "a", "supportproxydhcp=no"])?;
    site.stays_silent(&RequestFrame::edk2(NODE_A, 7).bytes())?;

    // What the daemon has to say of these nodes, and of no others.
    let set = node(&site.files, &["set", "other", "winpepath=winboot/x"])?;
    assert_eq!(
        set.stderr, "the resolver is being asked for other\n",
        "{set:?}"
    );
    assert_eq!(set.code, Some(0));
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
    // The rest is told on stderr.
    assert!(list.is_err_and(|error| error.to_string().contains("99999 nodes more, of 100000")));
    let started = Instant::now();
    let rm = node(&files, &["rm", "/n0[0-4].*"])?;
    println!(
        "node rm of half of them by a regular expression: {:?}",
        started.elapsed()
    );
    assert!(rm.stdout.contains("49999 removed"), "{rm:?}");
    Ok(())
}
