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

#[test]
fn the_addresses_of_one_name_fill_neither_memory_nor_table() -> Result<()> {
    const MOST: u32 = 64;
    let _alone = alone();
    // By a hash that anybody can compute: these addresses agree in bits 32 to 51 of the product.
    let hash = |address: u32| u64::from(address).wrapping_mul(0x9e37_79b9_7f4a_7c15) << 12 >> 44;
    let first = u32::from(Ipv4Addr::new(10, 77, 4, 0));
    let alike = (first..).filter(|address| hash(*address) == hash(first));
    let many: Vec<_> = alike.take(26).map(Ipv4Addr::from).collect();
    let first = u32::from(Ipv4Addr::new(10, 77, 8, 0));
    let more = (first..).take(200).map(|address| (address.into(), "more"));
    let known: Vec<_> = many.iter().map(|it| (*it, "many")).chain(more).collect();

    let lab = Lab::new()?;
    let _server = NameServer::start(&lab.server, &known)?;
    let files = Files::new()?;
    files.write_config(&[("many", "winboot/a"), ("more", "winboot/b")])?;
    files.write_hosts(&[])?;
    let mut site = start(lab, &Resolver::new("")?, Datapath::Native, files, &[])?;
    wait_until(&site, |status| status["nodes"] == 26 + MOST)?;
    for address in many {
        let request = RequestFrame::edk2(address, 7);
        // Some belong to other networks; answers go to the MAC address all the same.
        site.ask(&request, "winboot/a/", 7)?;
    }
    for (address, is_served) in [
        (first, true),
        (first + MOST - 1, true),
        (first + MOST, false),
    ] {
        let request = RequestFrame::edk2(address.into(), 7);
        if is_served {
            site.ask(&request, "winboot/b/", 7)?;
        } else {
            site.stays_silent(&request.bytes())?;
        }
    }
    let text = site.command(&["status"])?.stdout;
    let warning = "the system resolver has 200 addresses for more, and 64 are the limit";
    assert!(text.contains(warning), "{text}");
    // A table that is doubled until the 26 no longer collide takes 128 MiB alone.
    let kernels = fs::read_to_string(format!("/proc/{}/status", site.daemon.pid()))?;
    let peak = kernels.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: u32 = peak
        .unwrap_or_default()
        .trim_end_matches("kB")
        .trim()
        .parse()?;
    assert!(kibibytes < 100 << 10, "{kibibytes} KiB");
    Ok(())
}
