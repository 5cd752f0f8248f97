//! Keys that are wrong cost their node alone.

use anyhow::Result;
use proxydhcp_lab::etcd::Clients;
use proxydhcp_lab::site::{NODE_A, NODE_B};
use serde_json::Value;

use crate::fleet::{Fleet, PREFIX, content_id};

#[test]
fn a_bad_key_costs_that_node_alone_and_is_named() -> Result<()> {
    let mut fleet = Fleet::start(1, Clients::All)?;
    let id = content_id(&fleet.etcd)?;
    let key = |node: &str| format!("{PREFIX}/v1/content/{id}/nodes/{node}");
    for (value, why) in [
        ("{", "EOF"),
        (r#"{"winpe":"winboot/../../etc"}"#, "has a '..'"),
        (r#"{"winpe":"/etc"}"#, "outside the TFTP root"),
        (
            r#"{"winpe":"winboot/x","next_server":"10.0.0.1"}"#,
            "unknown field",
        ),
    ] {
        fleet.etcd.ctl(&["put", &key("a"), value])?;
        let is_named = |bad: &Value| {
            bad["name"] == "a" && bad["why"].as_str().is_some_and(|text| text.contains(why))
        };
        fleet.wait_until(|source| {
            let first = source["bad"]["first"].as_array();
            first.is_some_and(|bad| bad.iter().any(is_named))
        })?;
        fleet.site.stays_silent_to(NODE_A)?;
        fleet.site.ask_uefi(NODE_B, "winboot/b/")?;
    }
    // A group, too.
    let group = format!("{PREFIX}/v1/content/{id}/groups/rack1");
    fleet
        .etcd
        .ctl(&["put", &group, r#"{"ranges":["b # a"]}"#])?;
    fleet.wait_until(|source| source["bad"]["count"] == 2)?;
    fleet.site.ask_uefi(NODE_B, "winboot/b/")?;
    fleet.etcd.ctl(&["del", &group])?;
    fleet.wait_until(|source| source["bad"]["count"] == 1)?;
    // A change of another node leaves it as it is, and its own mends it.
    fleet.set("b", "winboot/b2")?;
    let kept = fleet.etcd.ctl(&["get", "--print-value-only", &key("a")])?;
    assert!(kept.contains("next_server"), "{kept}");
    fleet.site.stays_silent_to(NODE_A)?;
    fleet.run(&[
        "node",
        "set",
        "a",
        "winpepath=winboot/a",
        "supportproxydhcp=yes",
    ])?;
    fleet.wait_until(|source| source["bad"]["count"] == 0)?;
    fleet.site.ask_uefi(NODE_A, "winboot/a/")?;
    fleet.site.ask_uefi(NODE_B, "winboot/b2/")?;
    Ok(())
}
