//! A source that has used up its burst does not get another one from a crash.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::RequestFrame;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{NODE_A, Site};
use serde_json::Value;

use super::{IN_KERNEL, PATIENCE, restart};

const BURST: u64 = 100;
/// A bucket gains less than one request per second.
const ARGUMENTS: [&str; 4] = ["--rate-limit", "1", "--burst", "100"];

#[test]
fn a_source_stays_limited_when_the_daemon_is_killed() -> Result<()> {
    for datapath in IN_KERNEL {
        let mut site = Site::with(datapath, &ARGUMENTS)?;
        let started = Instant::now();
        ask(&mut site, 2 * BURST)?;
        await_limited(&site, BURST, started)?;
        site.daemon.crash()?;
        restart(&mut site, datapath, &ARGUMENTS)?;
        ask(&mut site, BURST)?;
        await_limited(&site, 2 * BURST, started)?;
    }
    Ok(())
}

fn ask(site: &mut Site, count: u64) -> Result<()> {
    let request = RequestFrame::edk2(NODE_A, UEFI_X64).bytes();
    (0..count).try_for_each(|_| site.tap.send(&request))
}

/// Waits until so many requests are limited, but for those gained since `started`.
fn await_limited(site: &Site, count: u64, started: Instant) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counters = site.counters()?;
        let limited = counters.get("limited").and_then(Value::as_u64);
        let gained = started.elapsed().as_secs();
        if limited >= Some(count.saturating_sub(gained)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{}", site.describe());
        thread::sleep(Duration::from_millis(10));
    }
}
