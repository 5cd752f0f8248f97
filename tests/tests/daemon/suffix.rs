//! A node's other interfaces have names of their own, with a suffix.

use std::net::Ipv4Addr;

use anyhow::Result;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, Site};
use serde_json::json;

const A_IB0: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 1);
const A_PRI: Ipv4Addr = Ipv4Addr::new(10, 77, 3, 1);
const B_IB0: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 2);

#[test]
fn a_node_is_served_at_its_other_interfaces_too() -> Result<()> {
    let suffixes = ["--suffix=-ib0", "--suffix", "-pri"];
    let mut site = Site::start(Datapath::Native, files()?, &suffixes)?;
    for (address, winpe) in [
        (NODE_A, "winboot/a/"),
        (A_IB0, "winboot/a/"),
        (A_PRI, "winboot/a/"),
        (NODE_B, "winboot/b/"),
        // It has a record of its own.
        (B_IB0, "winboot/ib/"),
    ] {
        site.ask_uefi(address, winpe)?;
    }
    let status = site.status()?;
    assert_eq!(
        (&status["nodes"], &status["records"]),
        (&json!(5), &json!(3))
    );
    assert_eq!(status["unresolved"], json!([]));
    assert_eq!(status["warnings"], json!([]));

    // An address of two nodes is the first one's.
    site.files.write_hosts(&[
        ("10.77.1.1", "a"),
        ("10.77.2.1", "a-ib0.cluster"),
        ("10.77.2.1", "b"),
        ("10.77.2.2", "b-ib0"),
        ("10.77.1.2", "b"),
    ])?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    let warning = "10.77.2.1 is an address of both a (record 1) and b (record 2); a, which was";
    assert!(reload.stdout.contains(warning), "{reload:?}");
    site.ask_uefi(A_IB0, "winboot/a/")?;
    site.ask_uefi(NODE_B, "winboot/b/")?;
    Ok(())
}

#[test]
fn without_a_rule_only_a_nodes_own_name_is_its_name() -> Result<()> {
    let mut site = Site::start(Datapath::Native, files()?, &[])?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    site.ask_uefi(B_IB0, "winboot/ib/")?;
    site.stays_silent_to(A_IB0)
}

#[test]
fn what_is_no_suffix_is_no_rule() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    for suffix in [
        "--suffix=",
        "--suffix=--watch",
        "--suffix=.cluster",
        "--suffix=a b",
    ] {
        let ended = site.command(&["serve", suffix])?;
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.stderr.contains("such as --suffix=-ib0"), "{ended:?}");
    }
    Ok(())
}

fn files() -> Result<Files> {
    let files = Files::new()?;
    files.write_config(&[
        ("a", "winboot/a"),
        ("b", "winboot/b"),
        ("b-ib0", "winboot/ib"),
    ])?;
    files.write_hosts(&[
        ("10.77.1.1", "a"),
        ("10.77.2.1", "a-ib0.cluster a-ib0"),
        ("10.77.3.1", "A-PRI"),
        ("10.77.1.2", "b"),
        ("10.77.2.2", "b-ib0"),
    ])?;
    Ok(files)
}
