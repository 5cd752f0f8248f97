//! A storm that is watched in every way at once loses nothing by it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use proxydhcp_clients::{Client, Firmware, StormReport, storm};
use proxydhcp_lab::alone;
use proxydhcp_lab::top::Top;

use super::limits::{events, get, whole};
use super::*;

const NODES: u16 = 50_000;
const WINPE: &str = "winboot/x/";
/// So many pages are open, each of which wants all that changes.
const PAGES: usize = 8;
/// A pause between scrapes, far shorter than Prometheus'.
const SCRAPES: Duration = Duration::from_millis(50);
/// The place of the answered among the states of an update.
const ANSWERED: usize = 3;

#[test]
fn fifty_thousand_at_once_lose_none_while_pages_top_and_scrapes_watch() -> Result<()> {
    let _alone = alone();
    for datapath in Datapath::ALL {
        watched(datapath).with_context(|| format!("{datapath:?}"))?;
    }
    Ok(())
}

fn watched(datapath: Datapath) -> Result<()> {
    let site = Cluster::new(NODES).unlimited(datapath, WINPE, &METRICS)?;
    let top = Top::start(&site)?;
    top.shows(&format!("silent {NODES}"))?;
    let path = events(&whole(&site, "/storm")?.1)?;
    let pages: Vec<_> = (0..PAGES)
        .map(|_| get(&site, &path))
        .collect::<Result<_>>()?;
    let first = u32::from(Ipv4Addr::new(10, 77, 4, 0));
    let clients: Vec<_> = (0..NODES)
        .map(|n| Client::new(Firmware::Uefi, (first + u32::from(n)).into(), WINPE))
        .collect();

    let over = AtomicBool::new(false);
    let (report, updates, scrapes) = thread::scope(|scope| {
        let pages: Vec<_> = pages
            .into_iter()
            .map(|page| scope.spawn(|| until_all_are_answered(page)))
            .collect();
        let scraper = scope.spawn(|| {
            let mut scrapes = 0;
            while !over.load(Relaxed) {
                let (head, _) = whole(&site, "/metrics")?;
                ensure!(head.contains(" 200 "), "{head}");
                scrapes += 1;
                thread::sleep(SCRAPES);
            }
            Ok(scrapes)
        });
        let go_on = &mut |_| ControlFlow::Continue(());
        let report = storm(&site.lab.client, CLIENT_INTERFACE, &clients, go_on);
        let updates: Result<Vec<usize>> = pages
            .into_iter()
            .map(|page| page.join().ok().context("a page's reader panicked")?)
            .collect();
        over.store(true, Relaxed);
        let scrapes: Result<u32> = scraper.join().ok().context("the scraper panicked")?;
        anyhow::Ok((report?, updates?, scrapes?))
    })?;
    top.shows(&format!("answered {NODES}"))?;
    println!("{datapath:?}: pages saw {updates:?} updates; {scrapes} scrapes");
    none_is_lost(datapath, &site, &report)
}

/// Reads what a page reads, until it shows that all nodes are answered: the number of updates.
fn until_all_are_answered(page: BufReader<TcpStream>) -> Result<usize> {
    let started = Instant::now();
    let mut updates = 0;
    for line in page.lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ") else {
            continue;
        };
        updates += 1;
        let update: Value = serde_json::from_str(data)?;
        if update["totals"]["states"][ANSWERED] == NODES {
            return Ok(updates);
        }
        ensure!(started.elapsed() < 4 * PATIENCE, "{}", update["totals"]);
    }
    ensure!(false, "the updates have ended");
    Ok(updates)
}

fn none_is_lost(datapath: Datapath, site: &Site, report: &StormReport) -> Result<()> {
    let summary = report.summary(None);
    let counters = site.counters()?;
    println!(
        "{datapath:?}: {} requests in {:?}, {summary:?}; {counters}",
        report.asked, report.took
    );
    ensure!(
        report.faults().next().is_none(),
        "{:?}",
        report.faults().next()
    );
    ensure!(summary.never == 0, "{}", site.describe());
    let count = |name: &str| counters[name].as_u64();
    if matches!(datapath, Datapath::Native | Datapath::Generic) {
        // The kernel answers whatever becomes of those who watch. Elsewhere the daemon needs its share of
        // the machine, or else nodes ask again.
        ensure!(count("lost") == Some(0), "{counters}");
        for name in ["received", "answered"] {
            ensure!(
                count(name) == Some(report.asked as u64),
                "{name}: {counters}"
            );
        }
    }
    Ok(())
}
