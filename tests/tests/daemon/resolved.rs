//! A site whose daemon has a resolver of its own.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::resolver::Resolver;
use proxydhcp_lab::site::{Datapath, Files, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, binary};
use serde_json::Value;

/// Far longer than the answers take: milliseconds, or a second if a name server is dead.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Serves `files` in the lab, with the names of this resolver.
pub(crate) fn start(
    lab: Lab,
    resolver: &Resolver,
    datapath: Datapath,
    files: Files,
    more: &[&str],
) -> Result<Site> {
    let daemon = daemon(&lab, resolver, datapath, &files, more)?;
    Site::of(lab, daemon, files)
}

/// Starts a daemon in the place of one that has ended, with the names of this resolver.
pub(crate) fn restart(
    site: &mut Site,
    resolver: &Resolver,
    datapath: Datapath,
    more: &[&str],
) -> Result<()> {
    site.daemon = daemon(&site.lab, resolver, datapath, &site.files, more)?;
    Ok(())
}

fn daemon(
    lab: &Lab,
    resolver: &Resolver,
    datapath: Datapath,
    files: &Files,
    more: &[&str],
) -> Result<Daemon> {
    let mut command = Command::new(binary()?);
    command.args(serve_args(datapath, files, more));
    resolver.give_to(&mut command)?;
    Daemon::start_command(&lab.server, command)
}

/// Waits until the status is as it should be, and returns how long that took.
pub(crate) fn wait_until(site: &Site, is_so: impl Fn(&Value) -> bool) -> Result<Duration> {
    wait_for(site, PATIENCE, is_so)
}

/// Waits until the status is as it should be, with this patience, and returns how long that took.
pub(crate) fn wait_for(
    site: &Site,
    patience: Duration,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Duration> {
    let started = Instant::now();
    loop {
        let status = site.status()?;
        if is_so(&status) {
            return Ok(started.elapsed());
        }
        ensure!(
            started.elapsed() < patience,
            "{status}\n{}",
            site.daemon.log()
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// How many entries a list of the status has.
pub(crate) fn count(status: &Value, list: &str) -> usize {
    status[list].as_array().map_or(usize::MAX, Vec::len)
}
