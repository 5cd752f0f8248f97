//! The wire between service nodes and etcd is cut, and mended.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_clients::{Load, steady};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{NODE_A, NODE_B};
use proxydhcp_lab::{Expected, check_reply};

use crate::fleet::manifest;
use crate::segment::{Segment, address};

/// How long the wire is cut: longer than a service node's lease. `PROXYDHCP_PARTITION` has other seconds.
const PARTITION: Duration = Duration::from_secs(40);
/// Requests a second, to both service nodes together.
const RATE: u32 = 200;

#[test]
fn a_partition_loses_no_answer_and_leaves_no_stale_node() -> Result<()> {
    let partition = match env::var("PROXYDHCP_PARTITION") {
        Ok(seconds) => Duration::from_secs(seconds.parse()?),
        Err(_) => PARTITION,
    };
    let mut segment = Segment::new(3)?;
    segment.push_usual()?;
    let mut requests = Vec::new();
    for place in 0..2 {
        segment.serve(&[])?;
        for client in [NODE_A, NODE_B] {
            requests.push(segment.request(place, client)?.0);
        }
    }
    segment.wait_for_status("all 2 service nodes serve it")?;

    let over = AtomicBool::new(false);
    let clients = segment.clients.try_clone()?;
    let load = thread::scope(|scope| -> Result<_> {
        let load = scope.spawn(|| {
            let load = Load {
                rate: RATE,
                requests: &requests,
            };
            let go_on = |_| !over.load(Relaxed);
            steady(&clients, "eth0", &load, &go_on, &mut |reply| {
                let server = address(if reply.request_index < 2 { 1 } else { 2 });
                // Before the change, or after it.
                let winpes = [["a", "a2"], ["b", "b2"]];
                let of = winpes.get(reply.request_index % 2).context("no such")?;
                let outcomes = of.map(|winpe| {
                    let expected = Expected {
                        siaddr: server,
                        ..Expected::new(&format!("winboot/{winpe}/"), UEFI_X64)
                    };
                    check_reply(reply.request, reply.frame, &expected)
                });
                let [before, after] = outcomes;
                before.or(after)
            })
        });
        let outcome = while_parted(&segment, partition);
        over.store(true, Relaxed);
        let load = load.join().ok().context("the load panicked")??;
        outcome?;
        Ok(load)
    })?;
    println!("{load:?}");
    ensure!(load.is_flawless(), "{load:?}");

    for place in 0..2 {
        segment.ask(place, NODE_A, "winboot/a2/")?;
        segment.ask(place, NODE_B, "winboot/b2/")?;
    }
    Ok(())
}

/// Cuts the wire, changes nodes on etcd's side of it, mends it, and waits until all is as it should be.
/// At no time may `fleet status` say that all is well while it is not.
fn while_parted(segment: &Segment, partition: Duration) -> Result<()> {
    segment.plug(10, false)?;
    let parted = Instant::now();
    segment.write("a", "winboot/a2")?;
    let newest = segment.write("b", "winboot/b2")?;
    while parted.elapsed() < partition {
        let ended = segment.ended(&["fleet", "status"])?;
        let is_true = ended.stdout.contains("NOT in service on")
            || ended.stdout.contains("no service node has a say in it yet");
        ensure!(is_true && ended.code == Some(2), "{ended:?}");
        thread::sleep(Duration::from_secs(1));
    }
    for place in 0..2 {
        segment.wait_until(place, |source| source["stale_since"].is_number())?;
    }

    segment.plug(10, true)?;
    for place in 0..2 {
        segment.wait_until(place, |source| {
            source["revision"] == newest && source["stale_since"].is_null()
        })?;
    }
    let said = segment.wait_for_status("all 2 service nodes serve it")?;
    ensure!(
        said.contains(&format!("revision {newest} with 3 nodes")),
        "{said}"
    );
    // What they serve is what etcd has, by the hash over all of it.
    let (first, second) = (hash(segment, 0)?, hash(segment, 1)?);
    let manifest = manifest(&segment.etcd)?;
    ensure!(
        first == second && manifest.get("hash").is_some_and(|hash| *hash == *first),
        "{first} {second} {manifest}"
    );
    Ok(())
}

fn hash(segment: &Segment, place: usize) -> Result<String> {
    let status = segment.status(place, &["--json"])?.stdout;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let hash = status
        .pointer("/source/hash")
        .and_then(|hash| hash.as_str());
    Ok(hash.context("there is no hash")?.to_owned())
}
