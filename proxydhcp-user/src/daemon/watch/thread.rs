//! The thread that watches, and what others hear from it.

use std::io;
use std::path::absolute;
use std::thread;

use anyhow::{Context, Result};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tracing::error;

use super::Watch;
use crate::nodes::cfg::disabled;
use crate::sys::privileges;
use crate::tables::table::Sources;

/// What the thread has to tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What changes from now on is noticed.
    pub(super) began: bool,
    /// How often files have changed.
    pub(super) changes: u64,
    /// Why changes are noticed late, if they are.
    pub(super) trouble: Option<String>,
}

/// Who hears of changed files.
#[derive(Clone, Debug)]
pub(crate) struct Watching {
    told: watch::Receiver<Told>,
    /// The changes that were heard of.
    heard: u64,
}

/// Has a thread watch the files. Nobody waits for it, at the end neither.
///
/// # Errors
///
/// The working directory is gone, or the thread cannot be started.
pub(crate) fn start(sources: &Sources) -> Result<Watching> {
    let files = [
        absolute(&sources.config)?,
        absolute(&sources.hosts)?,
        absolute(disabled::path(&sources.config))?,
    ];
    let (tell, told) = watch::channel(Told::default());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let watch = async move {
        let mut watch = Watch::new(files, tell);
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
    /// Waits until what changes is noticed.
    pub(crate) async fn began(&mut self) {
        // Else it has ended, which `changed` tells.
        let _ = self.told.wait_for(|told| told.began).await;
    }

    /// Waits for a change since the last one that was waited for.
    pub(crate) async fn changed(&mut self) {
        let heard = self.heard;
        if let Ok(told) = self.told.wait_for(|told| told.changes != heard).await {
            self.heard = told.changes;
            return;
        }
        error!("changed files are not noticed any more, reload by hand");
        std::future::pending::<()>().await;
    }

    /// What is wrong with the watch.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.told.borrow().trouble.clone()
    }
}
