//! Settings that come from etcd, for all service nodes.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::Expected;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Files, NODE_A, STRANGER};
use serde_json::Value;

use crate::fleet::{PREFIX, content_id, revision};
use crate::segment::Segment;

/// The address of another interface of node a.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 9);

/// A segment with a service node, and the files that are pushed into its etcd.
fn served(arguments: &[&str]) -> Result<(Segment, usize, Files)> {
    let (mut segment, files) = (Segment::new(1)?, Files::usual()?);
    segment.push_usual()?;
    let node = segment.serve(arguments)?;
    Ok((segment, node, files))
}

/// Pushes the files with these settings beside them, and waits until they are in service everywhere. Returns
/// the revision.
fn push(segment: &Segment, files: &Files, settings: &str) -> Result<i64> {
    fs::write(files.path("proxydhcp.cfg.settings"), settings)?;
    let config = files.path("proxydhcp.cfg").display().to_string();
    segment.change(&["fleet", "push", &config])
}

#[test]
fn settings_in_etcd_take_the_place_of_each_hosts_own() -> Result<()> {
    let (mut segment, node, files) = served(&[])?;
    segment.node(node)?.files.write_hosts(&[
        ("10.77.1.1", "a"),
        ("10.77.1.2", "b"),
        ("10.77.1.3", "default"),
        ("10.77.1.9", "a-ib0"),
    ])?;
    segment.stays_silent(node, STRANGER)?;
    segment.stays_silent(node, OTHER)?;

    let all = "unknown = \"default\"\nsuffix = [\"-ib0\"]\n\n[loaders]\n7 = \"Boot/other.efi\"\n\n[bcd]\n7 = \"Boot/own\"\n";
    let with_all = push(&segment, &files, all)?;
    let expect = |segment: &mut Segment, client, winpe: &str| {
        let expected = Expected {
            loader: format!("{winpe}Boot/other.efi"),
            bcd: format!("{winpe}Boot/own"),
            ..Expected::new(winpe, UEFI_X64)
        };
        segment.ask_for(node, client, expected)
    };
    for (client, winpe) in [
        (NODE_A, "winboot/a/"),
        (OTHER, "winboot/a/"),
        (STRANGER, ""),
    ] {
        expect(&mut segment, client, winpe)?;
    }
    // A change of what a node boots leaves them as they are, and is put into service by them.
    segment.set("a", "winboot/new")?;
    expect(&mut segment, OTHER, "winboot/new/")?;
    let pulled = files.path("pulled.cfg");
    segment.run(&["fleet", "pull", &pulled.display().to_string()])?;
    assert_eq!(
        fs::read_to_string(pulled.with_extension("cfg.settings"))?,
        all
    );

    // One is removed: this host's own counts again.
    push(&segment, &files, "unknown = \"default\"\n")?;
    segment.ask(node, NODE_A, "winboot/a/")?;
    segment.ask(node, STRANGER, "")?;
    segment.ask(node, OTHER, "")?;
    let said = segment.run(&["fleet", "rollback", &with_all.to_string()])?;
    assert!(
        said.contains("3 settings added or changed (bcd, loaders, suffix)"),
        "{said}"
    );
    let revision = revision(&said)?;
    segment.run(&["fleet", "wait", &revision.to_string()])?;
    expect(&mut segment, OTHER, "winboot/a/")?;

    // They are on the disk, for a start without etcd.
    segment.wait_until_kept(node, revision)?;
    segment.etcd.kill_all()?;
    segment.crash(node)?;
    segment.serve_again(node, &[])?;
    expect(&mut segment, OTHER, "winboot/a/")?;
    expect(&mut segment, STRANGER, "")?;
    Ok(())
}

#[test]
fn clients_without_a_record_are_looked_up_once_the_fleet_says_so() -> Result<()> {
    let (mut segment, node, files) = served(&[])?;
    segment.stays_silent(node, STRANGER)?;
    push(&segment, &files, "unknown = \"lookup-default\"\n")?;
    // Whoever is not known to the resolver gets the default WinPE at a later try.
    let (request, _) = segment.request(node, STRANGER)?;
    segment.ask_until_answered(&request)?;
    segment.ask(node, STRANGER, "")?;
    push(&segment, &files, "unknown = \"ignore\"\n")?;
    segment.stays_silent(node, STRANGER)?;
    Ok(())
}

#[test]
fn a_setting_that_cannot_be_heeded_costs_itself_alone() -> Result<()> {
    let (mut segment, node, files) = served(&["--offers", "all", "--unknown", "default"])?;
    let is_named = |source: &Value, why: &str| {
        let first = source["bad"]["first"].as_array();
        let is_so = |bad: &Value| {
            bad["kind"] == "setting"
                && bad["name"] == "unknown"
                && bad["why"].as_str().is_some_and(|text| text.contains(why))
        };
        first.is_some_and(|bad| bad.iter().any(is_so))
    };
    push(
        &segment,
        &files,
        "unknown = \"ignore\"\n[bcd]\n7 = \"Boot/own\"\n",
    )?;
    segment.wait_until(node, |source| is_named(source, "offers to all clients"))?;
    let expected = Expected {
        bcd: "Boot/own".to_owned(),
        ..Expected::new("", UEFI_X64)
    };
    segment.ask_for(node, STRANGER, expected)?;

    let id = content_id(&segment.etcd)?;
    let setting = |name: &str| format!("{PREFIX}/v1/content/{id}/settings/{name}");
    segment.etcd.ctl(&["put", &setting("unknown"), "\"all\""])?;
    segment.etcd.ctl(&["put", &setting("tftp-root"), "\"/\""])?;
    segment.wait_until(node, |source| {
        is_named(source, "unknown variant") && source["bad"]["count"] == 2
    })?;
    segment
        .ask(node, NODE_A, "winboot/a/")
        .err()
        .context("its BCD is another")?;

    // A file of settings that is wrong is not pushed.
    let config = files.path("proxydhcp.cfg");
    fs::write(files.path("proxydhcp.cfg.settings"), "tftp-root = \"/\"\n")?;
    let ended = segment.ended(&["fleet", "push", &config.display().to_string()])?;
    ensure!(ended.code == Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("line 1: unknown field `tftp-root`"),
        "{ended:?}"
    );
    Ok(())
}
