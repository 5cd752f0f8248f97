//! A source that asks too often is limited, and nobody else.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::hostile::Forger;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, Site};
use proxydhcp_lab::{RequestFrame, client_mac};

/// Far over the limit.
const MANY: u64 = 200;
/// How many requests of one source are answered at once, by default.
const BURST: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends this many requests of the client, waits until each is answered or limited, and returns how
/// many were answered.
fn answered(site: &mut Site, client: Ipv4Addr, count: u64) -> Result<u64> {
    let request = RequestFrame::edk2(client, UEFI_X64);
    answered_of(site, (0..count).map(|_| request.clone()))
}

/// The same of these requests.
fn answered_of(site: &mut Site, requests: impl Iterator<Item = RequestFrame>) -> Result<u64> {
    // The frames exist before the first is sent, so that they go out as fast as a socket takes them.
    let frames: Vec<_> = requests.map(|request| request.bytes()).collect();
    let count = u64::try_from(frames.len())?;
    let told = |site: &Site| -> Result<[u64; 2]> {
        let counters = site.counters()?;
        let count = |name: &str| counters[name].as_u64().context("no such counter");
        Ok([count("answered")?, count("limited")?])
    };
    let before = told(site)?;
    for frame in frames {
        site.tap.send(&frame)?;
    }
    let sent = Instant::now();
    let [answered, limited] = loop {
        let after = told(site)?;
        let new = [after[0] - before[0], after[1] - before[1]];
        if new.iter().sum::<u64>() == count {
            break new;
        }
        ensure!(sent.elapsed() < PATIENCE, "{}", site.describe());
    };
    println!("{count} requests: {answered} answered, {limited} limited");
    while site.tap.reply(Duration::ZERO)?.is_some() {}
    Ok(answered)
}

/// The usual site, with the limits that a daemon has where nothing is set.
fn limited(datapath: Datapath) -> Result<Site> {
    let files = Files::usual()?;
    files.write_settings("")?;
    Site::start(datapath, files, &[])
}

#[test]
fn a_source_that_asks_too_often_is_limited_alone() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = limited(datapath)?;
        let started = Instant::now();
        let first = answered(&mut site, NODE_A, MANY)?;
        // The source may ask ten times more in each second, and by the tick of the daemon's clock.
        let gained = u64::try_from(started.elapsed().as_millis()).unwrap() / 100 + 1;
        assert!(
            (BURST..=BURST + gained).contains(&first),
            "{datapath:?}: {first}"
        );
        site.ask_uefi(NODE_B, "winboot/b/")?;

        // A reload does not fill its bucket.
        let started = Instant::now();
        ensure!(site.command(&["reload"])?.code == Some(0));
        let more = answered(&mut site, NODE_A, MANY)?;
        let gained = u64::try_from(started.elapsed().as_millis()).unwrap() / 100 + 2;
        assert!(
            more <= gained.min(BURST),
            "{datapath:?}: {more}, not {gained}"
        );
    }
    Ok(())
}

#[test]
fn forged_requests_are_limited_and_the_node_is_not() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = limited(datapath)?;
        for forger in [Forger::OnTheWire, Forger::ByRouter(client_mac(NODE_A))] {
            let started = Instant::now();
            let forged = (0..MANY).map(|_| forger.request(NODE_A, 1));
            let count = answered_of(&mut site, forged)?;
            let gained = u64::try_from(started.elapsed().as_millis()).unwrap() / 100 + 1;
            assert!(
                (BURST..=BURST + gained).contains(&count),
                "{datapath:?}, {forger:?}: {count}"
            );
        }
        // The node's own burst is untouched.
        let count = answered(&mut site, NODE_A, BURST)?;
        assert_eq!(count, BURST, "{datapath:?}");
    }
    Ok(())
}

/// Replies to a forged address behind a router are bounded, even if each request has another client.
#[test]
fn clients_that_are_made_up_behind_a_router_share_a_limit() -> Result<()> {
    const LINES: u64 = 32 * 8;
    for datapath in Datapath::ALL {
        let mut site = limited(datapath)?;
        let started = Instant::now();
        let forger = Forger::ByRouter(client_mac(NODE_A));
        let made_up = (0..20_000).map(|machine| forger.request(NODE_A, machine));
        let count = answered_of(&mut site, made_up)?;
        let gained = (started.elapsed().as_secs() + 1) * LINES * 10;
        assert!(
            count <= LINES * BURST + gained,
            "{datapath:?}: {count} of 20,000, not {LINES} * {BURST} + {gained}"
        );
    }
    Ok(())
}

#[test]
fn the_limit_is_what_is_set() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::with(datapath, &["--rate-limit", "1", "--burst", "3"])?;
        let started = Instant::now();
        let count = answered(&mut site, NODE_A, MANY)?;
        let gained = started.elapsed().as_secs() + 1;
        assert!((3..=3 + gained).contains(&count), "{datapath:?}: {count}");

        let mut site = Site::with(datapath, &["--rate-limit", "0"])?;
        assert_eq!(answered(&mut site, NODE_A, MANY)?, MANY, "{datapath:?}");
    }
    Ok(())
}

#[test]
fn the_clocks_of_all_firmware_twice_over_are_not_limited() -> Result<()> {
    // iPXE's and EDK2's, in milliseconds; each is run down twice at once.
    let mut times = [0, 250, 750, 1750, 0, 1000, 3000, 6000].map(Duration::from_millis);
    times.sort_unstable();
    let mut sites = Datapath::ALL.map(|datapath| (datapath, limited(datapath)));
    let started = Instant::now();
    for time in times {
        thread::sleep(time.saturating_sub(started.elapsed()));
        for (datapath, site) in &mut sites {
            let Ok(site) = site else { continue };
            for request in [
                RequestFrame::edk2(NODE_A, UEFI_X64),
                RequestFrame::ipxe(NODE_A, BIOS),
            ] {
                let asked = site.tap.ask(&request);
                asked.with_context(|| format!("{datapath:?} at {time:?}: {}", site.describe()))?;
            }
        }
    }
    for (datapath, site) in sites {
        assert_eq!(site?.counters()?["limited"], 0, "{datapath:?}");
    }
    Ok(())
}
