//! Whatever happens to etcd, answers go on.

use anyhow::Result;
use proxydhcp_lab::Ended;
use proxydhcp_lab::etcd::{Clients, Etcd};
use proxydhcp_lab::site::{NODE_A, NODE_B};
use rustix::process::Signal;

use crate::fleet::{Fleet, ended, revision};

fn status(fleet: &Fleet) -> Result<Ended> {
    ended(&fleet.site.lab, &fleet.etcd, &["fleet", "status"])
}

#[test]
fn nodes_come_from_three_members_with_users_and_outlive_them() -> Result<()> {
    let mut fleet = Fleet::start(3, Clients::Users)?;
    fleet.site.ask_uefi(NODE_A, "winboot/a/")?;
    fleet.set("a", "winboot/changed")?;
    fleet.site.ask_uefi(NODE_A, "winboot/changed/")?;
    let said = fleet.run(&["fleet", "wait", "1"])?;
    assert!(said.contains("in service on 1 service node"), "{said}");

    // Another leads, and nothing is lost.
    let leader = fleet.etcd.leader()?;
    fleet.etcd.kill([leader])?;
    fleet.set("a", "winboot/without-leader")?;
    fleet.site.ask_uefi(NODE_A, "winboot/without-leader/")?;

    fleet.etcd.kill_all()?;
    fleet.wait_until(|source| source["stale_since"].is_number())?;
    fleet.site.ask_uefi(NODE_A, "winboot/without-leader/")?;
    let said = fleet.site.command(&["status"])?;
    assert_eq!(said.code, Some(2));
    assert!(said.stdout.contains("STALE: it was the newest"), "{said:?}");

    // A start without etcd.
    fleet.wait_until_kept()?;
    fleet.site.daemon.crash()?;
    fleet.serve_again()?;
    fleet.site.ask_uefi(NODE_A, "winboot/without-leader/")?;
    fleet.site.ask_uefi(NODE_B, "winboot/b/")?;
    let log = fleet.site.daemon.log();
    assert!(log.contains("until etcd answers"), "{log}");

    fleet.etcd.start_again()?;
    fleet.wait_until(|source| source["stale_since"].is_null())?;
    fleet.set("b", "winboot/again")?;
    fleet.site.ask_uefi(NODE_B, "winboot/again/")?;
    let said = fleet.run(&["fleet", "history"])?;
    assert!(said.contains("node: b") && said.contains("push "), "{said}");
    Ok(())
}

#[test]
fn who_lags_behind_a_compaction_loads_all_anew() -> Result<()> {
    let mut fleet = Fleet::start(1, Clients::All)?;
    fleet.site.daemon.signal(Signal::STOP)?;
    // Its watch ends, and what happens then is not kept for it.
    fleet.etcd.kill_all()?;
    fleet.etcd.start_again()?;
    let mut said = String::new();
    for number in 0..5 {
        let winpe = format!("winpepath=winboot/{number}");
        said = fleet.run(&["node", "set", "a", &winpe])?;
    }
    fleet.run(&["node", "rm", "b"])?;
    let revision = revision(&said)?;
    fleet
        .etcd
        .ctl(&["compact", "--physical", &revision.to_string()])?;
    fleet.site.daemon.signal(Signal::CONT)?;
    fleet.wait_until(|source| source["revision"].as_i64() > Some(revision))?;
    fleet.site.ask_uefi(NODE_A, "winboot/4/")?;
    fleet.site.stays_silent_to(NODE_B)?;
    let ended = ended(&fleet.site.lab, &fleet.etcd, &["fleet", "rollback", "2"])?;
    assert!(
        ended.stderr.contains("no longer has revision 2"),
        "{ended:?}"
    );
    Ok(())
}

#[test]
fn a_suddenly_empty_prefix_is_not_taken() -> Result<()> {
    let mut fleet = Fleet::start(1, Clients::All)?;
    fleet.wait_until_kept()?;
    let before = fleet.site.status()?["source"]["revision"].clone();
    fleet.etcd.ctl(&["del", "--prefix", "site/"])?;
    fleet
        .site
        .daemon
        .wait_for("not reloaded", std::time::Duration::from_mins(1))?;
    fleet.site.ask_uefi(NODE_A, "winboot/a/")?;
    let now = fleet.site.status()?;
    assert_eq!(now["source"]["revision"], before);
    assert!(now["rejected"].is_string(), "{now:#}");

    // A start serves what was served, too, and a new push is taken.
    fleet.site.daemon.crash()?;
    fleet.serve_again()?;
    fleet.site.ask_uefi(NODE_A, "winboot/a/")?;
    // What it has on its disk is enough for that: the whole folder.
    let kept = fleet.site.files.path("state/last").display().to_string();
    fleet.run(&["fleet", "push", &kept])?;
    fleet.site.ask_uefi(NODE_B, "winboot/b/")?;
    fleet.set("a", "winboot/back")?;
    fleet.site.ask_uefi(NODE_A, "winboot/back/")?;
    Ok(())
}

#[test]
fn fleet_status_says_whether_all_serve_the_same() -> Result<()> {
    let mut fleet = Fleet::start(1, Clients::All)?;
    let first = fleet.run(&["fleet", "wait", "1"])?;
    assert!(first.contains("revision 1 is in service"), "{first}");
    let ended = status(&fleet)?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("the only service node serves it"),
        "{ended:?}"
    );
    // One that cannot follow is named.
    fleet.site.daemon.signal(Signal::STOP)?;
    fleet.run(&["node", "set", "a", "winpepath=winboot/new"])?;
    let ended = status(&fleet)?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stdout.contains("NOT in service on 1 of 1: sn1"),
        "{ended:?}"
    );
    fleet.site.daemon.signal(Signal::CONT)?;
    fleet.site.daemon.stop()?;
    Ok(())
}

#[test]
fn a_source_and_a_file_at_once_are_an_error() -> Result<()> {
    let lab = proxydhcp_lab::Lab::new()?;
    let etcd = Etcd::start(&lab.server, 1, Clients::All)?;
    let both = ended(&lab, &etcd, &["serve", "--config", "/x"])?;
    assert_eq!(both.code, Some(64), "{both:?}");
    let folder = tempfile::TempDir::new()?;
    let settings = folder.path().join("settings.toml");
    std::fs::write(
        &settings,
        "config = \"/x\"\nsource = \"etcd://localhost/p\"\n",
    )?;
    let mut command = std::process::Command::new(proxydhcp_lab::binary()?);
    command
        .args(["serve", "--check", "--settings"])
        .arg(&settings);
    let both: Ended = lab.server.output(command)?.into();
    assert_eq!(both.code, Some(78), "{both:?}");
    assert!(
        both.stderr.contains("config and source both say"),
        "{both:?}"
    );
    Ok(())
}
