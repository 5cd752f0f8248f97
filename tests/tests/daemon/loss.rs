//! Half a hosts file takes no nodes out of service that nobody has asked to go.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::Result;
use proxydhcp_lab::site::{Datapath, Files, Site};
use serde_json::json;

const NODES: u8 = 10;

fn address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 2, node)
}

fn name(node: u8) -> String {
    format!("n{node:02}")
}

/// A hosts file with the first of the nodes.
fn hosts(nodes: u8) -> String {
    let lines = (1..=nodes).map(|node| format!("{} {}\n", address(node), name(node)));
    lines.collect()
}

fn write_hosts(files: &Files, text: &str) -> Result<()> {
    Ok(fs::write(files.path("hosts"), text)?)
}

fn write_records(files: &Files, nodes: u8) -> Result<()> {
    let names: Vec<_> = (1..=nodes).map(name).collect();
    let records: Vec<_> = names.iter().map(|name| (&**name, "winboot/a")).collect();
    files.write_config(&records)
}

fn site(more: &[&str]) -> Result<Site> {
    let files = Files::new()?;
    write_records(&files, NODES)?;
    write_hosts(&files, &hosts(NODES))?;
    Site::start(Datapath::Generic, files, more)
}

#[test]
fn half_a_hosts_file_is_rejected_with_what_would_go() -> Result<()> {
    let mut site = site(&[])?;
    write_hosts(&site.files, &hosts(4))?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(1), "{reload:?}");
    for part in [
        "6 of the 10 addresses in service would go, those of n05, n06, n07, n08, n09 and 1 more",
        "more than the 50 %",
        "reload --allow-loss 100",
        &site.files.path("hosts").display().to_string(),
    ] {
        assert!(reload.stderr.contains(part), "{part}: {reload:?}");
    }
    let status = site.status()?;
    assert_eq!(status["nodes"], NODES, "{status}");
    let rejected = status["rejected"].as_str().unwrap_or_default();
    assert!(rejected.contains("6 of the 10 addresses"), "{status}");
    site.ask_uefi(address(NODES), "winboot/a/")?;

    // Half of them may go, and more where somebody says so.
    write_hosts(&site.files, &hosts(5))?;
    assert_eq!(site.command(&["reload"])?.code, Some(0));
    assert_eq!(site.status()?["rejected"], json!(null));
    site.stays_silent_to(address(6))?;
    write_hosts(&site.files, &hosts(2))?;
    let less = site.command(&["reload", "--allow-loss", "59"])?;
    assert_eq!(less.code, Some(1), "{less:?}");
    let meant = site.command(&["reload", "--allow-loss", "60"])?;
    assert_eq!(meant.code, Some(0), "{meant:?}");
    site.stays_silent_to(address(3))?;
    site.ask_uefi(address(2), "winboot/a/")?;
    Ok(())
}

#[test]
fn nodes_that_are_removed_or_move_are_no_loss() -> Result<()> {
    let mut site = site(&[])?;
    write_records(&site.files, 2)?;
    write_hosts(&site.files, &hosts(2))?;
    let removed = site.command(&["reload"])?;
    assert_eq!(removed.code, Some(0), "{removed:?}");
    write_hosts(&site.files, &hosts(2).replace("10.77.2.", "10.77.3."))?;
    let moved = site.command(&["reload"])?;
    assert_eq!(moved.code, Some(0), "{moved:?}");
    site.ask_uefi(Ipv4Addr::new(10, 77, 3, 2), "winboot/a/")?;
    Ok(())
}

#[test]
fn the_share_is_a_setting() -> Result<()> {
    for (setting, code) in [("--allow-loss=60", 0), ("--allow-loss=59", 1)] {
        let site = site(&[setting])?;
        write_hosts(&site.files, &hosts(4))?;
        let reload = site.command(&["reload"])?;
        assert_eq!(reload.code, Some(code), "{setting}: {reload:?}");
    }
    let files = Files::new()?;
    files.write_settings("rate-limit = 0\nallow-loss = 0\n")?;
    write_records(&files, NODES)?;
    write_hosts(&files, &hosts(NODES))?;
    let site = Site::start(Datapath::Generic, files, &[])?;
    write_hosts(&site.files, &hosts(NODES - 1))?;
    let reload = site.command(&["reload"])?;
    assert!(
        reload.stderr.contains("1 of the 10 addresses"),
        "{reload:?}"
    );
    Ok(())
}

#[test]
fn a_last_line_without_an_end_is_taken_with_a_warning() -> Result<()> {
    let mut site = site(&["--watch"])?;
    let cut = hosts(7);
    write_hosts(&site.files, cut.trim_end())?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    assert!(
        reload.stdout.contains("the last line has no line feed"),
        "{reload:?}"
    );
    site.ask_uefi(address(7), "winboot/a/")?;
    write_hosts(&site.files, &hosts(7))?;
    let ended = site.command(&["reload"])?;
    assert!(!ended.stdout.contains("line feed"), "{ended:?}");
    Ok(())
}
