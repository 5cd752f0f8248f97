//! `proxydhcp xcat sync`: the file that nodeset should have written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::{Result, ensure};
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{Ended, binary};

use crate::tables::{Node, Tables, records};

/// What nodeset writes at once, and loses the rest of.
const PORTION: usize = 250;

/// `proxydhcp xcat sync` of the tables that lie among these files.
fn sync(files: &Files, args: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    command.args(["xcat", "sync", "--settle", "0"]).args(args);
    for (flag, file) in [
        ("--config", "proxydhcp.cfg"),
        ("--control", "control.sock"),
        ("--settings", "proxydhcp.toml"),
        ("--tabdump", "xcat/tabdump"),
    ] {
        command.arg(flag).arg(files.path(file));
    }
    Ok(command.output()?.into())
}

impl Tables {
    fn sync(&self, args: &[&str]) -> Result<Ended> {
        sync(&self.files, args)
    }

    /// The last line of what it prints; it must end with this code.
    fn summary(&self, args: &[&str], code: i32) -> Result<String> {
        let ended = self.sync(args)?;
        ensure!(ended.code == Some(code), "{args:?}: {ended:?}");
        Ok(ended.stdout.lines().last().unwrap_or_default().to_owned())
    }

    fn config(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.files.path("proxydhcp.cfg"))?)
    }

    /// Whether the file is still the same one.
    fn inode(&self) -> Result<(u64, i64)> {
        let file = fs::metadata(self.files.path("proxydhcp.cfg"))?;
        Ok((file.ino(), file.mtime_nsec()))
    }
}

#[test]
fn it_writes_what_nodeset_has_lost() -> Result<()> {
    let tables = Tables::new()?;
    let all = records(Node::all())?;
    let total = all.len() / 200;
    tables
        .files
        .write_raw_config(&records(Node::all().take(PORTION))?)?;
    let kept = tables.config()?.len() / 200;
    let before = tables.inode()?;
    let lost = format!(
        "{} added, 0 changed, 0 removed, {kept} unchanged",
        total - kept
    );
    assert_eq!(tables.summary(&["--dry-run"], 0)?, lost);
    assert_eq!(tables.summary(&["--check"], 1)?, lost);
    assert_eq!(tables.inode()?, before, "written for show");

    let done = tables.sync(&[])?;
    ensure!(
        done.code == Some(0) && done.stdout.contains("+ n0252"),
        "{done:?}"
    );
    assert_eq!(tables.config()?, all);
    let disabled = fs::read_to_string(tables.files.path("proxydhcp.cfg.disabled"))?;
    assert_eq!(disabled.lines().last(), Some("n0001"));

    // Nothing differs, so nothing is written, and a unit that watches the file comes to rest.
    let before = tables.inode()?;
    let same = format!(
        "0 added, 0 changed, 0 removed, {total} unchanged; the file is what xCAT's tables say"
    );
    assert_eq!(tables.summary(&[], 0)?, same);
    assert_eq!(tables.summary(&["--check"], 0)?, same);
    assert_eq!(tables.inode()?, before);
    Ok(())
}

#[test]
fn what_nodeset_has_damaged_is_told_and_mended() -> Result<()> {
    let tables = Tables::new()?;
    let all = records(Node::all())?;
    let mut damaged = all.clone();
    // Its search for n0004 has found another's record, and a writer has died within the last.
    damaged[50..60].copy_from_slice(b"winboot/x/");
    damaged.truncate(all.len() - 60);
    tables.files.write_raw_config(&damaged)?;
    let done = tables.sync(&[])?;
    assert_eq!(done.code, Some(0));
    let told = |text: &str| ensure_in(&done.stdout, text);
    told("~ n0001: winboot/x/")?;
    told("not kept: bytes ")?;
    told("+ n1998")?;
    assert_eq!(tables.config()?, all);
    Ok(())
}

fn ensure_in(text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "no {part:?} in {text}");
    Ok(())
}

#[test]
fn each_server_gets_its_own_nodes_and_their_addresses() -> Result<()> {
    for pool in 0..3 {
        for half in ["a", "b.cluster"] {
            let tables = Tables::new()?;
            let server = format!("sn{pool}{half}");
            let hosts = tables.files.path("hosts");
            let hosts = hosts.display().to_string();
            let args = ["--server", &server, "--write-hosts", &hosts];
            tables.summary(&args, 0)?;
            let own = || Node::all().filter(move |node| node.pool() == pool);
            assert_eq!(tables.config()?, records(own())?, "{server}");
            let text = fs::read_to_string(&hosts)?;
            for node in own().filter(|node| node.winpe().is_some()) {
                let (name, address) = (node.name(), node.address());
                ensure_in(&text, &format!("\n{address} {name}\n"))?;
                let other = address.replace("10.77.", "10.78.");
                ensure_in(&text, &format!("\n{other} {name}-ib0 {name}\n"))?;
            }
            let lines = text.lines().count() - 1;
            assert_eq!(lines, 2 * tables.config()?.len() / 200);
        }
    }
    let tables = Tables::new()?;
    let ended = tables.sync(&["--server", "sn9"])?;
    ensure!(ended.code == Some(1), "{ended:?}");
    ensure_in(&ended.stderr, "no node names sn9 as its service node")
}

#[test]
fn of_a_table_that_is_missing_or_odd_nothing_is_written() -> Result<()> {
    let tables = Tables::new()?;
    tables
        .files
        .write_raw_config(&records(Node::all().take(PORTION))?)?;
    let before = (tables.config()?, tables.inode()?);
    for (table, text, told) in [
        ("chain", None, "No such table: chain"),
        (
            "winimage",
            Some("#imagename,disable\n"),
            "winimage has no column winpepath",
        ),
        (
            "nodetype",
            Some(""),
            "the table nodetype does not begin with #",
        ),
        (
            "osimage",
            Some("<html>"),
            "the table osimage does not begin with #",
        ),
        (
            "mac",
            Some("#node,mac,disable\n\"n1\",\n"),
            "the table mac is not the CSV",
        ),
        (
            "chain",
            Some("#node,currstate,disable\n"),
            "163 of 163 records would go, more than 50 %",
        ),
        (
            "nodelist",
            Some("#node,groups,disable\n"),
            "163 of 163 records would go, more than 50 %",
        ),
    ] {
        let path = tables.table(table);
        let sound = fs::read(&path)?;
        match text {
            None => fs::remove_file(&path)?,
            Some(text) => fs::write(&path, text)?,
        }
        let ended = tables.sync(&[])?;
        ensure!(ended.code == Some(1), "{table} {text:?}: {ended:?}");
        ensure_in(&ended.stderr, told)?;
        assert_eq!(
            (tables.config()?, tables.inode()?),
            before,
            "{table} {text:?}"
        );
        fs::write(&path, sound)?;
    }

    // Whoever knows better says so.
    fs::write(tables.table("chain"), "#node,currstate,disable\n")?;
    tables.summary(&["--allow-loss", "100"], 0)?;
    assert!(tables.config()?.is_empty());
    Ok(())
}

/// One node's image is gone. It keeps the record it has, and all others get theirs.
#[test]
fn a_node_that_the_tables_contradict_each_other_about_keeps_its_record() -> Result<()> {
    let tables = Tables::new()?;
    let all = records(Node::all())?;
    tables
        .files
        .write_raw_config(&records(Node::all().take(PORTION))?)?;
    let types = fs::read_to_string(tables.table("nodetype"))?;
    let types = types.replace("\"n0001\",,,,\"win-b\"", "\"n0001\",,,,\"win-gone\"");
    fs::write(tables.table("nodetype"), types)?;
    let ended = tables.sync(&[])?;
    ensure!(ended.code == Some(2), "{ended:?}");
    ensure_in(
        &ended.stderr,
        "n0001 keeps the record it has: its image win-gone",
    )?;
    assert_eq!(tables.config()?, all);
    Ok(())
}

/// The daemon takes up what was written.
#[test]
fn what_it_writes_is_in_service_at_once() -> Result<()> {
    let Tables { files } = Tables::new()?;
    files.write_raw_config(&records(Node::all().take(9))?)?;
    let hosts = files.path("hosts").display().to_string();
    let mut site = Site::start(Datapath::Generic, files, &[])?;
    let node = Node(252);
    let client = node.address().parse()?;
    site.stays_silent_to(client)?;
    let ended = sync(&site.files, &["--write-hosts", &hosts])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure_in(&ended.stdout, "in service: generation 2")?;
    site.ask_uefi(client, node.winpe().unwrap())?;
    Ok(())
}
