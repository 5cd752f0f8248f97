//! Requests with names, asked on every datapath.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::RequestFrame;
use proxydhcp_lab::site::{Datapath, Site};
use serde_json::Value;

/// Longer than any answer takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// A request, and the reply that its client must get.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) request: RequestFrame,
    pub(crate) winpe: &'static str,
    /// The architecture whose loader is right.
    pub(crate) arch: u16,
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        request: RequestFrame,
        winpe: &'static str,
        arch: u16,
    ) -> Self {
        Self {
            name: name.into(),
            request,
            winpe,
            arch,
        }
    }

    /// Asks, and checks the reply in every field.
    pub(crate) fn ask(&self, site: &mut Site) -> Result<Named> {
        let reply = site
            .ask(&self.request, self.winpe, self.arch)
            .with_context(|| self.name.clone())?;
        Ok((self.name.clone(), reply))
    }
}

/// A reply frame and the name of the request that it answers.
pub(crate) type Named = (String, Vec<u8>);

/// Runs `exchange` on every datapath: each must give the same replies, byte for byte.
pub(crate) fn on_every_datapath(exchange: impl Fn(Datapath) -> Result<Vec<Named>>) -> Result<()> {
    let mut first: Option<Vec<Named>> = None;
    for datapath in Datapath::ALL {
        let replies = exchange(datapath).with_context(|| format!("{datapath:?}"))?;
        let first = first.get_or_insert_with(|| replies.clone());
        ensure!(
            first.len() == replies.len() && !replies.is_empty(),
            "{datapath:?}: {} replies, not {}",
            replies.len(),
            first.len()
        );
        for ((name, wanted), (_, reply)) in first.iter().zip(&replies) {
            ensure!(
                reply == wanted,
                "{datapath:?} answers {name} by\n{reply:02x?}\nand {:?} by\n{wanted:02x?}",
                Datapath::ALL[0]
            );
        }
    }
    Ok(())
}

/// How many of these requests the XDP program leaves to the daemon, if there is one.
pub(crate) fn left_to_daemon(datapath: Datapath, plain: u64, unusual: u64) -> u64 {
    match datapath {
        Datapath::Native | Datapath::Generic => unusual,
        Datapath::AfXdp => plain + unusual,
        Datapath::Raw => 0,
    }
}

/// Waits until the counters, or one of them, are as they should be: a reply may arrive before it is
/// counted.
pub(crate) fn counts(site: &Site, counter: &str, wanted: &Value) -> Result<()> {
    let asked = Instant::now();
    loop {
        let counters = site.counters()?;
        let count = counters.pointer(counter).context("no such counter")?;
        if count == wanted {
            return Ok(());
        }
        ensure!(
            asked.elapsed() < PATIENCE,
            "{counter} is {count}, should be {wanted}"
        );
    }
}

/// How often the kernel has left a request to the daemon so far.
pub(crate) fn handed_up(site: &Site) -> Result<u64> {
    let counters = site.counters()?;
    counters["handed_up"].as_u64().context("no such counter")
}
