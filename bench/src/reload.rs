//! Measures how long a reload takes, and the requests it loses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp::api::status::{Reloaded, Took};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::{CLIENT_INTERFACE, Daemon, Expected, Lab, RequestFrame, check_reply};

use crate::cluster::{Files, Node};
use crate::results::Reload;
use proxydhcp_clients::{Load, steady};

/// The rate of requests while tables are reloaded, per second.
const LOAD: u32 = 20_000;
/// The number of nodes that send them, which every table contains.
const ASKING: u32 = 1000;
/// How long the load lasts before the first reload and after the last.
const MARGIN: Duration = Duration::from_millis(100);

/// The effort of the measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// The number of timed reloads without load.
    pub(crate) quiet: u32,
    /// How long reloads follow each other under load; there is at least one.
    pub(crate) loaded: Duration,
}

/// Reloads the daemon's files, first without load, then while known nodes send requests.
pub(crate) fn reload(lab: &Lab, daemon: &Daemon, files: &Files, effort: Effort) -> Result<Reload> {
    let mut changes = 0;
    let mut change = || {
        changes += 1;
        files.change(changes, ASKING)?;
        reload_once(lab, daemon, files)
    };
    let times = median(effort.quiet, &mut change)?;
    let joined = median(effort.quiet, || {
        files.add_host()?;
        reload_once(lab, daemon, files)
    })?;

    let nodes: Vec<Node> = Node::all(ASKING).collect();
    let requests: Vec<RequestFrame> = nodes.iter().map(|node| node.request()).collect();
    let expected: Vec<Expected> = nodes
        .iter()
        .map(|node| Expected::new(&node.winpe(), UEFI_X64))
        .collect();
    let load = Load {
        rate: LOAD,
        requests: &requests,
    };
    let done = AtomicBool::new(false);
    let (reloads, report) = thread::scope(|scope| {
        let reloader = scope.spawn(|| {
            thread::sleep(MARGIN);
            let reloads = reload_for(effort.loaded, change);
            thread::sleep(MARGIN);
            done.store(true, Ordering::Release);
            reloads
        });
        let report = steady(
            &lab.client,
            CLIENT_INTERFACE,
            &load,
            &|_| !done.load(Ordering::Acquire),
            &mut |reply| {
                let expected = expected.get(reply.request_index).context("no such node")?;
                check_reply(reply.request, reply.frame, expected)
            },
        );
        let reloads = reloader
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (reloads, report)
    });
    let report = report?;
    Ok(Reload {
        total_ms: times.total,
        joined_ms: joined.total,
        read_ms: times.read,
        resolve_ms: times.resolve,
        fill_ms: times.fill,
        swap_ms: times.swap,
        reloads_under_load: reloads?,
        load_per_second: report.rate(),
        asked: report.sent,
        lost: report.missing() + report.wrong,
    })
}

/// The median of so many reloads, by the time they take.
fn median(count: u32, mut reload: impl FnMut() -> Result<Took>) -> Result<Took> {
    let times: Result<Vec<_>> = (0..count).map(|_| reload()).collect();
    let mut times = times?;
    times.sort_by(|one, other| one.total.total_cmp(&other.total));
    let median = times.get(times.len() / 2).copied();
    median.context("no reload was asked for")
}

fn reload_for(time: Duration, mut reload: impl FnMut() -> Result<Took>) -> Result<u32> {
    let started = Instant::now();
    let mut reloads = 0;
    loop {
        reload()?;
        reloads += 1;
        if started.elapsed() >= time {
            return Ok(reloads);
        }
    }
}

fn reload_once(lab: &Lab, daemon: &Daemon, files: &Files) -> Result<Took> {
    let control = files.control.display().to_string();
    let output = daemon.proxydhcp(&lab.server, &["reload", "--json", "--control", &control])?;
    ensure!(
        output.status.success(),
        "a reload failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let reloaded: Reloaded = serde_json::from_slice(&output.stdout)
        .context("the daemon's report of a reload is not what it was")?;
    Ok(reloaded.took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_reload_at_least() {
        let took = Took {
            total: 1.0,
            read: 0.0,
            resolve: 0.0,
            fill: 0.0,
            swap: 0.0,
        };
        assert_eq!(reload_for(Duration::ZERO, || Ok(took)).unwrap(), 1);
        let some = reload_for(Duration::from_millis(20), || {
            thread::sleep(Duration::from_millis(1));
            Ok(took)
        });
        assert!((2..=20).contains(&some.unwrap()));
    }
}
