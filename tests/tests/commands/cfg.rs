//! `proxydhcp cfg check`, `dump`, `import` and `repair`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{Ended, binary, config};
use serde_json::{Value, json};

/// Runs `proxydhcp cfg` on the files, in their folder.
fn run(files: &Files, args: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    let folder = files.path("");
    command
        .arg("cfg")
        .args(args)
        .args(["--config", "proxydhcp.cfg"]);
    match args.first() {
        Some(&"check") => command.args(["--hosts", "hosts"]),
        Some(&"dump") => &mut command,
        _ => command.args(["--control", "control.sock"]),
    };
    Ok(command.current_dir(folder).output()?.into())
}

#[test]
fn a_sound_file_has_no_findings() -> Result<()> {
    let files = Files::usual()?;
    let check = run(&files, &["check"])?;
    assert_eq!((check.code, check.stdout.as_str()), (Some(0), ""));
    assert_eq!(
        check.stderr,
        "proxydhcp.cfg: 3 records, 0 errors, 0 warnings\n"
    );
    Ok(())
}

#[test]
fn each_finding_has_its_record_its_byte_and_the_remedy() -> Result<()> {
    let files = Files::new()?;
    files.write_config(&[
        ("a", "winboot/a"),
        ("", "winboot/x"),
        ("b", &"p".repeat(120)),
        ("A", "winboot/c"),
        ("c", "../x"),
        ("no-such-node.invalid", ""),
        ("d", ""),
    ])?;
    files.write_hosts(&[("10.0.0.1", "a"), ("10.0.0.1", "d"), ("10.0.0.2", "d")])?;
    let check = run(&files, &["check", "--json"])?;
    assert_eq!(check.code, Some(1));
    let report: Value = serde_json::from_str(&check.stdout)?;
    assert_eq!(
        (&report["errors"], &report["warnings"]),
        (&json!(3), &json!(3))
    );
    let findings = report["findings"].as_array().unwrap();
    let expected = [
        (
            "warning",
            1,
            0,
            "records 1 and 4 are both of node A",
            "remove the other",
        ),
        (
            "error",
            2,
            200,
            "the node name is empty",
            "remove the record",
        ),
        ("error", 3, 400, "138 characters", "11 shorter"),
        ("error", 5, 800, "has a '..'", "plain path"),
        (
            "warning",
            6,
            1000,
            "no address for no-such-node.invalid",
            "hosts file or the DNS",
        ),
        (
            "warning",
            7,
            1200,
            "10.0.0.1 is an address of both",
            "correct the hosts file",
        ),
    ];
    assert_eq!(findings.len(), expected.len(), "{report:#}");
    for (finding, (severity, record, byte, what, remedy)) in findings.iter().zip(expected) {
        assert_eq!(finding["severity"], severity, "{finding}");
        assert_eq!(
            (&finding["record"], &finding["byte"]),
            (&json!(record), &json!(byte))
        );
        let message = finding["message"].as_str().unwrap();
        assert!(
            message.contains(what) && message.contains(remedy),
            "{message}"
        );
    }
    let lines = run(&files, &["check"])?.stdout;
    assert!(
        lines.contains("error: record 3 (byte 400, b): the WinPE path"),
        "{lines}"
    );
    assert!(!lines.contains('\u{1b}'), "no colours into a pipe");
    // Without the errors the warnings are left.
    files.write_config(&[("a", ""), ("a", "winboot/c"), ("d", "")])?;
    assert_eq!(run(&files, &["check"])?.code, Some(2));
    Ok(())
}

#[test]
fn a_file_that_the_daemon_cannot_read_is_not_sound_for_root_either() -> Result<()> {
    let files = Files::usual()?;
    for name in ["proxydhcp.cfg", "hosts"] {
        fs::set_permissions(files.path(name), Permissions::from_mode(0o0))?;
        let check = run(&files, &["check"])?;
        assert_eq!(check.code, Some(1), "{check:?}");
        assert!(
            check.stderr.contains(name) && check.stderr.contains("make it readable for root"),
            "{check:?}"
        );
        fs::set_permissions(files.path(name), Permissions::from_mode(0o644))?;
    }
    assert_eq!(run(&files, &["check"])?.code, Some(0));
    Ok(())
}

#[test]
fn backslashes_stay_as_they_are() -> Result<()> {
    let files = Files::usual()?;
    files.write_config(&[("a", r"winboot\x"), ("b", "")])?;
    let dump = run(&files, &["dump"])?;
    assert!(dump.stdout.contains(r" winboot\x "), "{dump:?}");
    let mut command = Command::new(binary()?);
    command.args(["node", "list", "--config"]);
    command.arg(files.path("proxydhcp.cfg"));
    let list = Ended::from(command.output()?);
    assert!(list.stdout.contains(" winboot\\x\n"), "{list:?}");
    // What is exported is imported again as it was.
    fs::write(
        files.path("nodes.json"),
        run(&files, &["dump", "--json"])?.stdout,
    )?;
    let nodes = files.path("nodes.json").display().to_string();
    let import = run(&files, &["import", &nodes, "--replace"])?;
    assert!(import.stdout.contains("2 unchanged"), "{import:?}");
    Ok(())
}

#[test]
fn noise_and_a_missing_file_are_errors() -> Result<()> {
    let files = Files::usual()?;
    fs::write(files.path("proxydhcp.cfg"), "x".repeat(400))?;
    let check = run(&files, &["check"])?;
    assert_eq!(check.code, Some(1));
    assert!(
        check
            .stdout
            .contains("none of its records is sound (2 records in all)"),
        "{}",
        check.stdout
    );
    fs::remove_file(files.path("proxydhcp.cfg"))?;
    for args in [&["check"][..], &["dump"], &["repair"]] {
        let ended = run(&files, args)?;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        assert!(
            ended.stderr.contains("proxydhcp.cfg: no such file"),
            "{}",
            ended.stderr
        );
    }
    Ok(())
}

#[test]
fn a_dump_is_a_table_of_all_records() -> Result<()> {
    let files = Files::new()?;
    let bytes = config::cfg_bytes([
        (&b"a"[..], &b"winboot/a"[..]),
        (b"\xff\n", b"x"),
        (b"c", b""),
    ])?;
    fs::write(files.path("proxydhcp.cfg"), bytes)?;
    let dump = run(&files, &["dump"])?.stdout;
    let rows: Vec<Vec<&str>> = dump
        .lines()
        .filter(|line| line.contains('┆'))
        .map(|line| line.split(['│', '┆']).map(str::trim).collect())
        .collect();
    assert!(
        rows.contains(&vec!["", "1", "a", "winboot/a", ""]),
        "{dump}"
    );
    assert!(rows.contains(&vec!["", "2", "\\xff\\n", "x", ""]), "{dump}");
    assert!(rows.contains(&vec!["", "3", "c", "", ""]), "{dump}");
    let first = run(&files, &["dump", "--limit", "1", "--json"])?;
    assert_eq!(first.stderr, "and 2 more records\n");
    let first: Value = serde_json::from_str(&first.stdout)?;
    assert_eq!(
        first,
        json!([{"record": 1, "node": "a", "winpepath": "winboot/a"}])
    );
    let all: Value = serde_json::from_str(&run(&files, &["dump", "--json"])?.stdout)?;
    assert!(
        all[1]["refused"].as_str().unwrap().contains("not text"),
        "{all}"
    );
    Ok(())
}

#[test]
fn what_was_dumped_imports_as_the_same_records() -> Result<()> {
    let files = Files::new()?;
    let long = "n".repeat(50);
    let nodes = [
        ("a", "winboot/a/"),
        ("ä", "w ö"),
        (&*long, "/tftpboot/x"),
        ("q\"u", r"b\c"),
        ("a", ""),
    ];
    files.write_config(&nodes)?;
    let before = fs::read(files.path("proxydhcp.cfg"))?;
    fs::write(
        files.path("nodes.json"),
        run(&files, &["dump", "--json"])?.stdout,
    )?;
    files.write_config(&[("other", "")])?;
    let import = run(&files, &["import", "--replace", "nodes.json"])?;
    assert_eq!(import.code, Some(0), "{}", import.stderr);
    assert!(
        import
            .stderr
            .contains("a is on line 2 too; this one counts"),
        "{}",
        import.stderr
    );
    assert_eq!(fs::read(files.path("proxydhcp.cfg"))?, before);
    Ok(())
}

#[test]
fn an_import_merges_by_name_and_can_be_tried() -> Result<()> {
    let files = Files::usual()?;
    let before = fs::read(files.path("proxydhcp.cfg"))?;
    fs::write(
        files.path("n.csv"),
        "node,winpepath\nB,winboot/new\nc,\na,winboot/a/\n",
    )?;
    let dry = run(&files, &["import", "n.csv", "--dry-run"])?;
    let merged = "~ B: winboot/b -> winboot/new\n+ c: (the default WinPE)\n\
        1 added, 1 changed, 0 removed, 2 unchanged\n";
    assert_eq!((dry.code, dry.stdout.as_str()), (Some(0), merged));
    assert_eq!(dry.stderr, "nothing was written\n");
    let dry = run(&files, &["import", "n.csv", "--dry-run", "--replace"])?;
    assert!(
        dry.stdout.ends_with(
            "- default: (the default WinPE)\n\
        1 added, 1 changed, 1 removed, 1 unchanged\n"
        ),
        "{}",
        dry.stdout
    );
    assert_eq!(fs::read(files.path("proxydhcp.cfg"))?, before);

    let import = run(&files, &["import", "n.csv"])?;
    assert_eq!(import.code, Some(0));
    assert_eq!(
        import.stdout,
        "1 added, 1 changed, 0 removed, 2 unchanged\n"
    );
    assert!(
        import
            .stderr
            .starts_with("no daemon listens on control.sock;"),
        "{}",
        import.stderr
    );
    let after = [
        ("a", "winboot/a/"),
        ("B", "winboot/new"),
        ("default", ""),
        ("c", ""),
    ];
    assert_eq!(
        fs::read(files.path("proxydhcp.cfg"))?,
        config::cfg_bytes(after)?
    );
    Ok(())
}

#[test]
fn one_bad_line_and_nothing_is_imported() -> Result<()> {
    let files = Files::usual()?;
    let before = fs::read(files.path("proxydhcp.cfg"))?;
    fs::write(
        files.path("n.csv"),
        "# nodes\nok,winboot/x\nbad,/etc\na b,\n",
    )?;
    let import = run(&files, &["import", "n.csv"])?;
    assert_eq!((import.code, import.stdout.as_str()), (Some(1), ""));
    let lines: Vec<&str> = import.stderr.lines().collect();
    assert!(
        lines[1].starts_with("n.csv:3: the WinPE path /etc is outside"),
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with("n.csv:4: the node name is not text"),
        "{lines:?}"
    );
    for (name, text, said) in [
        ("n.txt", "a,b", "--format csv or --format json"),
        ("n.csv", "node,winpepath\n", "no nodes"),
        (
            "n.json",
            "{}",
            "not in the format of `proxydhcp cfg dump --json`",
        ),
    ] {
        fs::write(files.path(name), text)?;
        let import = run(&files, &["import", name, "--replace"])?;
        assert_eq!(import.code, Some(1));
        assert!(import.stderr.contains(said), "{}", import.stderr);
    }
    assert_eq!(fs::read(files.path("proxydhcp.cfg"))?, before);
    Ok(())
}

#[test]
fn a_repair_keeps_what_is_sound_and_puts_the_rest_aside() -> Result<()> {
    let files = Files::usual()?;
    let sound = fs::read(files.path("proxydhcp.cfg"))?;
    let bad = config::cfg_bytes([("bad", "..")])?;
    let cut = [&sound[..], &b"cut"[..]].concat();
    let between = [&sound[..200], &bad, &sound[200..]].concat();
    for (damaged, rest, told) in [
        (
            &cut,
            &b"cut"[..],
            "bytes 600 to 603 (cut): a record that is cut off",
        ),
        (
            &between,
            &bad,
            "bytes 200 to 400 (bad ..): the WinPE path .. has a '..'",
        ),
    ] {
        fs::write(files.path("proxydhcp.cfg"), damaged)?;
        let dry = run(&files, &["repair", "--dry-run"])?;
        assert!(dry.stdout.contains(told), "{}", dry.stdout);
        assert_eq!(&fs::read(files.path("proxydhcp.cfg"))?, damaged);
        let repair = run(&files, &["repair"])?;
        assert_eq!(repair.code, Some(0), "{}", repair.stderr);
        assert!(repair.stdout.contains(told), "{}", repair.stdout);
        assert!(
            repair.stdout.contains("3 records kept byte for byte"),
            "{}",
            repair.stdout
        );
        let aside = repair
            .stdout
            .lines()
            .find_map(|l| l.strip_prefix("the bytes not kept are in "));
        let aside = Path::new(aside.unwrap());
        assert_eq!(fs::read(aside)?, rest);
        assert!(
            aside
                .to_string_lossy()
                .contains("/proxydhcp.cfg.rejected-20"),
            "{aside:?}"
        );
        fs::remove_file(aside)?;
        assert_eq!(fs::read(files.path("proxydhcp.cfg"))?, sound);
        let again = run(&files, &["repair"])?;
        assert!(
            again.stdout.contains("3 records, all sound"),
            "{}",
            again.stdout
        );
    }
    Ok(())
}

#[test]
fn a_record_written_into_another_is_found_and_cleared() -> Result<()> {
    let files = Files::usual()?;
    // As nodeset does, which takes the end of cn1 for n1.
    let mut bytes = config::cfg_bytes([("cn1", ""), ("cn2", "winboot/b")])?;
    bytes[1..201].copy_from_slice(&config::cfg_bytes([("n1", "winboot/x/")])?);
    fs::write(files.path("proxydhcp.cfg"), &bytes)?;
    let check = run(&files, &["check"])?;
    assert_eq!(check.code, Some(1), "{check:?}");
    for said in [
        "warning: record 1 (byte 0): winboot/x/ stands behind the WinPE path of cn1: nodeset has written \
         the record of n1 into that of cn1",
        "error: record 2 (byte 200, ): the node name is empty, and n2 follows it",
    ] {
        assert!(check.stdout.contains(said), "{said}: {check:?}");
    }
    let repair = run(&files, &["repair"])?;
    assert_eq!(repair.code, Some(0), "{repair:?}");
    for said in [
        "cleared: bytes 0 to 200 (cn1 winboot/x/): winboot/x/ stands behind",
        "not kept: bytes 200 to 400 (n2 winboot/b): the node name is empty",
        "0 records kept byte for byte, 1 record cleared, 200 bytes not kept",
    ] {
        assert!(repair.stdout.contains(said), "{said}: {repair:?}");
    }
    let kept = fs::read(files.path("proxydhcp.cfg"))?;
    assert_eq!(kept, config::cfg_bytes([("cn1", "")])?);
    let aside = repair
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("the bytes not kept are in "));
    assert_eq!(fs::read(aside.unwrap())?, bytes);
    let check = run(&files, &["check"])?;
    assert!(!check.stdout.contains("stands behind"), "{check:?}");
    Ok(())
}

/// Writes a text as another system does.
type Way<'a> = &'a dyn Fn(&str) -> Vec<u8>;

#[test]
fn files_of_other_systems_are_read_alike() -> Result<()> {
    let files = Files::usual()?;
    files.write_config(&[("a", ""), ("b", ""), ("c", ""), ("d", "")])?;
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let ways: [Way<'_>; 4] = [
        &|text| format!("\u{feff}{text}").into_bytes(),
        &|text| text.replace('\n', "\r\n").into_bytes(),
        &|text| utf16(&format!("\u{feff}{}", text.replace('\n', "\r\n"))),
        &|text| utf16(text),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let write = |name: &str, text: &str| fs::write(files.path(name), way(text));
        write(
            "hosts",
            "10.77.1.1 a\n10.77.1.2 b\n10.77.1.3 c\n10.77.1.4 d\n",
        )?;
        write("proxydhcp.cfg.disabled", "a,b\nd\n")?;
        let check = run(&files, &["check"])?;
        assert_eq!(
            (check.code, &*check.stdout),
            (Some(0), ""),
            "{number}: {check:?}"
        );
        write(
            "n.csv",
            &format!("node,winpepath\na,winboot/{number}\nb,\nc,\nd,\n"),
        )?;
        let import = run(&files, &["import", "n.csv"])?;
        assert_eq!(
            import.stdout, "0 added, 1 changed, 0 removed, 3 unchanged\n",
            "{import:?}"
        );
        write("groups", "g: a,b\n")?;
        write("proxydhcp.toml", "[loaders]\n0 = \"\"\n")?;
        let mut list = Command::new(binary()?);
        list.args([
            "node",
            "list",
            "@g",
            "--groups",
            "groups",
            "--settings",
            "proxydhcp.toml",
        ]);
        list.args(["--config", "proxydhcp.cfg"]);
        let list: Ended = list.current_dir(files.path("")).output()?.into();
        assert_eq!(list.code, Some(0), "{list:?}");
        assert_eq!(
            list.stdout
                .lines()
                .filter(|line| line.contains("  no "))
                .count(),
            2,
            "{list:?}"
        );
    }
    fs::write(files.path("proxydhcp.cfg.disabled"), b"\xff\xfe\0\0a\0\0\0")?;
    let check = run(&files, &["check"])?;
    assert!(
        check
            .stderr
            .contains("proxydhcp.cfg.disabled: is text in UTF-32"),
        "{check:?}"
    );
    Ok(())
}

#[test]
fn a_disabled_entry_that_names_nobody_is_a_finding() -> Result<()> {
    let files = Files::usual()?;
    fs::write(
        files.path("proxydhcp.cfg.disabled"),
        "a,b\nn0o\n@rack1\nb;c\n",
    )?;
    let check = run(&files, &["check"])?;
    assert_eq!(check.code, Some(2), "{check:?}");
    for said in [
        "cfg.disabled, line 2: there is no record of n0o: if a name is misspelt, its node is not disabled",
        "cfg.disabled, line 3: groups cannot be used here: name their nodes",
        "cfg.disabled, line 4: ';' cannot be in a node name",
    ] {
        assert!(check.stdout.contains(said), "{said}: {check:?}");
    }
    assert_eq!(check.stdout.lines().count(), 3, "{check:?}");
    Ok(())
}
