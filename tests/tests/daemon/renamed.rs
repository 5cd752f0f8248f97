//! Names that get other addresses in the DNS, of which nobody tells the daemon.

use std::time::Instant;

use anyhow::Result;
use proxydhcp_lab::Lab;
use proxydhcp_lab::resolver::{NameServer, Resolver};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B};
use serde_json::json;

use crate::resolved::{PATIENCE, count, start, wait_until};

/// A node gets another name server's entry after its record was read: the name is asked for again
/// after 5 s, and then after pauses that double.
#[test]
fn a_name_without_an_address_is_asked_for_again() -> Result<()> {
    let lab = Lab::new()?;
    let server = NameServer::start(&lab.server, &[(NODE_B, "b")])?;
    let files = Files::new()?;
    files.write_config(&[("a", "winboot/a/"), ("b", "winboot/b/")])?;
    files.write_hosts(&[])?;
    let more = ["--unknown", "default"];
    let mut site = start(lab, &Resolver::new("")?, Datapath::Generic, files, &more)?;
    wait_until(&site, |status| status["unresolved"] == json!(["a"]))?;
    site.ask_uefi(NODE_B, "winboot/b/")?;
    site.ask_uefi(NODE_A, "")?;
    server.tell(&[(NODE_B, "b"), (NODE_A, "a")])?;
    wait_until(&site, |status| status["nodes"] == 2)?;
    site.ask_uefi(NODE_A, "winboot/a/")?;

    // The names change places, which a reload notices.
    server.tell(&[(NODE_A, "b"), (NODE_B, "a")])?;
    let started = Instant::now();
    loop {
        site.command(&["reload"])?;
        wait_until(&site, |status| count(status, "looking_up") == 0)?;
        let answered = site.ask_uefi(NODE_A, "winboot/b/");
        if answered.is_ok() || started.elapsed() > PATIENCE {
            answered?;
            break;
        }
    }
    site.ask_uefi(NODE_B, "winboot/a/")?;
    Ok(())
}
