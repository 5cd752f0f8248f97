//! The daemon in a guest, serving a network card.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use proxydhcp_lab::config::{cfg_bytes, hosts_text};
use serde_json::Value;
use tempfile::TempDir;

use super::guest::Guest;

/// How long a command may take, on an emulated machine with a busy host.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
const CONTROL: &str = "/run/card.sock";
const PID: &str = "/run/card.pid";
const LOG: &str = "/run/card.log";

/// The daemon and its files, which a guest reads from this machine.
pub(crate) struct Service {
    daemon: PathBuf,
    files: TempDir,
}

impl Service {
    /// Writes the files of a cluster that boots one WinPE. A guest sees only what was written
    /// before it was booted.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn new(daemon: &Path, nodes: &[Ipv4Addr], winpe: &str) -> Result<Self> {
        let files = TempDir::new()?;
        let write = |name: &str, text: &[u8]| fs::write(files.path().join(name), text);
        let name = |n: usize| format!("n{n}");
        let records = (0..nodes.len()).map(|n| (name(n), winpe));
        write("proxydhcp.cfg", &cfg_bytes(records)?)?;
        let hosts = nodes.iter().enumerate().map(|(n, ip)| (*ip, name(n)));
        write("hosts", hosts_text(hosts).as_bytes())?;
        write("proxydhcp.toml", b"")?;
        Ok(Self {
            daemon: daemon.to_owned(),
            files,
        })
    }

    /// Starts the daemon on a card and waits until it serves.
    ///
    /// # Errors
    /// If it does not; the error shows its log.
    pub(crate) fn start(&self, guest: &mut Guest, card: &str, how: &str) -> Result<()> {
        let (daemon, files) = (self.daemon.display(), self.files.path().display());
        let script = format!(
            "'{daemon}' serve -i {card} {how} --config '{files}/proxydhcp.cfg' \
             --hosts '{files}/hosts' --settings '{files}/proxydhcp.toml' --control {CONTROL} \
             >{LOG} 2>&1 &\n\
             echo $! >{PID}\n\
             until grep ready: {LOG}; do kill -0 $! || {{ cat {LOG}; exit 1; }}; sleep 0.1; done"
        );
        guest.must(&script, PATIENCE).map(drop)
    }

    /// The daemon's status of its only interface.
    ///
    /// # Errors
    /// If it reports none.
    pub(crate) fn status(&self, guest: &mut Guest) -> Result<Value> {
        let daemon = self.daemon.display();
        let script = format!("'{daemon}' status --json --control {CONTROL}");
        let mut status: Value = serde_json::from_str(&guest.must(&script, PATIENCE)?)?;
        let interface = status.pointer_mut("/interfaces/0").map(Value::take);
        interface.context("the status has no interface")
    }

    /// Stops the daemon.
    ///
    /// # Errors
    /// If it does not end.
    pub(crate) fn stop(guest: &mut Guest) -> Result<()> {
        let script =
            format!("pid=$(cat {PID})\nkill $pid\nwhile kill -0 $pid 2>&-; do sleep 0.1; done");
        guest.must(&script, PATIENCE).map(drop)
    }
}
