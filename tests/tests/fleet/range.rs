//! Service nodes that serve a range of the fleet.

use std::fs;

use anyhow::{Context, Result};
use proxydhcp_lab::Ended;
use proxydhcp_lab::site::{Files, NODE_A, NODE_B, NODE_DEFAULT, STRANGER};

use crate::segment::Segment;

#[test]
fn each_service_node_serves_its_range_and_the_status_says_so() -> Result<()> {
    let mut segment = Segment::new(1)?;
    segment.push_usual()?;
    let first = segment.serve(&["--fleet-range", "a"])?;
    let second = segment.serve(&["--fleet-range", "b,default"])?;
    segment.ask(first, NODE_A, "winboot/a/")?;
    segment.ask(second, NODE_B, "winboot/b/")?;
    segment.ask(second, NODE_DEFAULT, "")?;
    segment.stays_silent(first, NODE_B)?;
    segment.stays_silent(second, NODE_A)?;

    segment.set("b", "winboot/new")?;
    segment.ask(second, NODE_B, "winboot/new/")?;
    let said = segment.status(first, &[])?.stdout;
    assert!(said.contains("this host serves a of it: 1 node"), "{said}");
    let said = segment.run(&["fleet", "status"])?;
    assert!(
        said.contains("with 3 nodes: all 2 service nodes serve it, each a range of it"),
        "{said}"
    );

    // A node in nobody's range.
    segment.set("c", "winboot/c")?;
    let ended = segment.ended(&["fleet", "status"])?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("NOT all of it is served: no range has c"),
        "{ended:?}"
    );
    // One that serves all has it.
    segment.serve(&[])?;
    let said = segment.run(&["fleet", "status"])?;
    assert!(
        said.contains("all 3 service nodes serve it, 2 of them a range of it"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_node_of_another_range_does_not_get_the_default_winpe() -> Result<()> {
    let mut segment = Segment::new(1)?;
    segment.push_usual()?;
    let node = segment.serve(&["--fleet-range", "a", "--unknown", "default"])?;
    segment.ask(node, NODE_A, "winboot/a/")?;
    segment.ask(node, STRANGER, "")?;
    segment.stays_silent(node, NODE_B)?;
    Ok(())
}

#[test]
fn what_others_serve_is_no_loss_and_a_start_without_etcd_may_serve_another_range() -> Result<()> {
    let mut segment = Segment::new(1)?;
    segment.push_usual()?;
    let node = segment.serve(&["--fleet-range", "a", "--allow-loss", "0"])?;
    // Most of the fleet goes, and nothing of its own.
    segment.run(&["node", "rm", "default"])?;
    let revision = segment.set("b", "winboot/new")?;
    segment.ask(node, NODE_A, "winboot/a/")?;
    segment.wait_until_kept(node, revision)?;
    // All of its own would go.
    segment.run(&["node", "rm", "a"])?;
    segment.wait_for(node, "not reloaded")?;
    segment.ask(node, NODE_A, "winboot/a/")?;
    let ended = segment.ended(&["fleet", "status"])?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stdout.contains("NOT in service on 1 of 1: sn1"),
        "{ended:?}"
    );

    segment.etcd.kill_all()?;
    segment.crash(node)?;
    segment.serve_again(node, &["--fleet-range", "b"])?;
    segment.ask(node, NODE_B, "winboot/new/")?;
    segment.stays_silent(node, NODE_A)?;
    Ok(())
}

#[test]
fn a_range_that_means_nothing_is_named() -> Result<()> {
    let mut segment = Segment::new(1)?;
    segment.push_usual()?;
    let node = segment.serve(&[])?;
    segment.crash(node)?;
    segment.serve_again(node, &["--fleet-range", "@no-such-group"])?;
    segment.wait_for(node, "no group no-such-group")?;
    let said = segment.status(node, &[])?;
    assert_eq!(said.code, Some(2), "{said:?}");
    let without = segment.nodes.first().map(|node| {
        let settings = node.files.path("proxydhcp.toml").display().to_string();
        let args = [
            "serve",
            "--check",
            "--settings",
            &settings,
            "--fleet-range",
            "a",
        ];
        node.daemon.proxydhcp(&node.namespace, &args)
    });
    let without: Ended = without.transpose()?.context("there is none")?.into();
    assert_eq!(without.code, Some(64), "{without:?}");
    assert!(without.stderr.contains("set source"), "{without:?}");
    Ok(())
}

#[test]
fn groups_come_from_etcd_to_service_nodes_and_commands() -> Result<()> {
    let mut segment = Segment::new(1)?;
    let files = Files::usual()?;
    let config = files.path("proxydhcp.cfg").display().to_string();
    let groups = format!("{config}.groups");
    fs::write(&groups, "rack1: a\nrack2: b,default\n")?;
    segment.run(&["fleet", "push", &config])?;
    let first = segment.serve(&["--fleet-range", "@rack1"])?;
    let second = segment.serve(&["--fleet-range", "@rack2"])?;
    segment.ask(first, NODE_A, "winboot/a/")?;
    segment.stays_silent(first, NODE_B)?;
    segment.ask(second, NODE_B, "winboot/b/")?;
    segment.wait_for_status("all 2 service nodes serve it, each a range of it")?;

    // A node changes its rack: both service nodes follow.
    fs::write(&groups, "rack1: a,b\nrack2: default\n")?;
    let ended = segment.ended(&["fleet", "diff", &config])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("~ group rack1"), "{ended:?}");
    let before = segment.run(&["fleet", "history", "--json", "--limit", "1"])?;
    let before: serde_json::Value = serde_json::from_str(&before)?;
    let before = before[0]["revision"].to_string();
    segment.change(&["fleet", "push", &config])?;
    segment.ask(first, NODE_B, "winboot/b/")?;
    segment.stays_silent(second, NODE_B)?;

    // Commands know them, and a change of nodes leaves them as they are.
    segment.change(&["node", "set", "@rack1", "winpepath=winboot/rack1"])?;
    segment.ask(first, NODE_A, "winboot/rack1/")?;
    segment.ask(first, NODE_B, "winboot/rack1/")?;
    // A push without such a file does, too.
    fs::remove_file(&groups)?;
    segment.run(&["fleet", "push", &config])?;
    let pulled = files.path("pulled.cfg");
    segment.run(&["fleet", "pull", &pulled.display().to_string()])?;
    let text = fs::read_to_string(files.path("pulled.cfg.groups"))?;
    assert_eq!(text, "rack1: a,b\nrack2: default\n");

    let revision = segment.change(&["fleet", "rollback", &before])?;
    segment.ask(second, NODE_B, "winboot/b/")?;
    segment.stays_silent(first, NODE_B)?;

    // They are on the disk, for a start without etcd.
    segment.wait_until_kept(first, revision)?;
    segment.etcd.kill_all()?;
    segment.crash(first)?;
    segment.serve_again(first, &["--fleet-range", "@rack2"])?;
    segment.ask(first, NODE_B, "winboot/b/")?;
    segment.stays_silent(first, NODE_A)?;
    Ok(())
}
