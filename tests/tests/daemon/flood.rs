//! Hostile packets at full rate leave known nodes answered.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use proxydhcp_bench::{Client, Firmware, storm};
use proxydhcp_lab::hostile::Hostile;
use proxydhcp_lab::packet::{BATCH, FrameSender};
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{CLIENT_INTERFACE, Tap, alone};

use crate::cluster::Cluster;

const NODES: u16 = 1000;
/// Of them, so many are answered at their first try.
const LEAST: usize = 999;
/// Hostile frames, over and over.
const FRAMES: u16 = 384;
const WINPE: &str = "winboot/new/";
/// A flood of more is broken off.
const MOST: u64 = 5_000_000;
/// The flood is well under way when the nodes are powered on.
const BEFORE: Duration = Duration::from_millis(100);

#[test]
fn a_flood_leaves_known_nodes_answered() -> Result<()> {
    let _alone = alone();
    for datapath in Datapath::ALL {
        under_flood(datapath)?;
    }
    Ok(())
}

fn under_flood(datapath: Datapath) -> Result<()> {
    let cluster = Cluster::new(NODES);
    let files = Files::new()?;
    files.write_settings("")?;
    cluster.write_hosts(&files)?;
    cluster.write_config(&files, WINPE)?;
    let mut site = Site::start(datapath, files, &[])?;
    // Else its socket would fill.
    site.tap = Tap::open(&site.lab.client, "lo")?;
    // The first node's address is forged: the others have to be answered.
    let clients: Vec<Client> = (1..NODES)
        .map(|n| {
            let address = u32::from(Ipv4Addr::new(10, 77, 4, 0)) + u32::from(n);
            let firmware = if n % 2 == 0 {
                Firmware::Bios
            } else {
                Firmware::Uefi
            };
            Client::new(firmware, address.into(), WINPE)
        })
        .collect();
    let frames = Hostile::mixed(Ipv4Addr::new(10, 77, 4, 0), FRAMES);
    let sender = FrameSender::open(&site.lab.client, CLIENT_INTERFACE)?;
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            for batch in frames.chunks(BATCH).cycle() {
                if over.load(Ordering::Relaxed) || sent.load(Ordering::Relaxed) >= MOST {
                    return;
                }
                // A wire that is full for the moment takes them later.
                let count = sender.send_batch(batch).unwrap_or(0);
                sent.fetch_add(count as u64, Ordering::Relaxed);
            }
        });
        thread::sleep(BEFORE);
        let go_on = &mut |_| ControlFlow::Continue(());
        let report = storm(&site.lab.client, CLIENT_INTERFACE, &clients, go_on);
        over.store(true, Ordering::Relaxed);
        report
    })?;
    let took = started.elapsed();
    let summary = report.summary(None);
    let sent = sent.into_inner();
    #[expect(clippy::cast_precision_loss, reason = "a few millions")]
    let rate = sent as f64 / took.as_secs_f64();
    println!(
        "{datapath:?}: {} of {} nodes answered at the first try, {} later, while {sent} hostile \
         packets came in {took:?}, {rate:.0} a second; {}",
        summary.first_try,
        summary.clients,
        summary.retried,
        site.counters()?
    );
    ensure!(sent < MOST, "the flood was over before the storm");
    if let Some(fault) = report.faults().next() {
        bail!("{fault}");
    }
    ensure!(
        summary.first_try >= LEAST - 1,
        "{datapath:?}: {summary:?}\n{}",
        site.describe()
    );
    Ok(())
}
