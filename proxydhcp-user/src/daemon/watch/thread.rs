//! The thread that watches the files, and what it reports.

use std::io;
use std::path::{Path, PathBuf, absolute};
use std::thread;

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tracing::error;

use super::Watch;
use crate::daemon::Settings;
use crate::nodes::cfg::texts;
use crate::sys::privileges;

/// What the thread reports.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Whether the watch has begun: later changes are noticed.
    pub(super) began: bool,
    /// The number of changes so far.
    pub(super) changes: u64,
    /// The reason why changes are noticed late, if they are.
    pub(super) trouble: Option<String>,
}

/// Receives the reports of the watch.
#[derive(Clone, Debug)]
pub(crate) struct Watching {
    told: watch::Receiver<Told>,
    /// The number of changes already seen.
    heard: u64,
}

/// Starts a thread that watches the files of a daemon.
///
/// # Errors
///
/// As [`over`].
pub(crate) fn start(settings: &Settings) -> Result<Watching> {
    let sources = &settings.sources;
    let mut files = vec![absolute(&sources.hosts)?];
    if let Some(ethers) = &sources.ethers {
        files.push(absolute(ethers)?);
    }
    // The nodes of a fleet come from elsewhere.
    let config = settings.fleet.is_none().then_some(&*sources.config);
    over(config, files)
}

/// Starts a thread that watches `config`, with the files beside it, and `files`. It is never joined,
/// because the files may be on a disk that hangs.
///
/// # Errors
///
/// If the thread or its runtime cannot be started.
pub(crate) fn over(config: Option<&Path>, mut files: Vec<PathBuf>) -> Result<Watching> {
    let config = config.map(absolute).transpose()?;
    if let Some(config) = &config {
        files.extend(texts::paths(config));
        files.push(config.clone());
    }
    let (tell, told) = watch::channel(Told::default());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let watch = async move {
        let mut watch = Watch::new(config, files, tell);
        watch.tell.send_modify(|told| told.began = true);
        loop {
            watch.changed().await;
            watch.tell.send_modify(|told| told.changes += 1);
        }
    };
    let run = move || {
        privileges::give_up();
        runtime.block_on(watch)
    };
    let spawned: io::Result<_> = thread::Builder::new().name("watch".to_owned()).spawn(run);
    spawned.context("cannot begin to watch the files")?;
    Ok(Watching { told, heard: 0 })
}

impl Watching {
    /// Waits until the watch has begun.
    pub(crate) async fn began(&mut self) {
        // An error means that the thread has ended, which `changed` reports.
        let _ = self.told.wait_for(|told| told.began).await;
    }

    /// Waits for a change since the last one seen.
    pub(crate) async fn changed(&mut self) {
        let heard = self.heard;
        if let Ok(told) = self.told.wait_for(|told| told.changes != heard).await {
            self.heard = told.changes;
            return;
        }
        error!("changed files are no longer noticed; run `proxydhcp reload` after each change");
        std::future::pending::<()>().await;
    }

    /// What is wrong with the watch, if anything.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.told.borrow().trouble.clone()
    }
}
