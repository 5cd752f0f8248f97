//! Brings what is in service to the disk, for a start without etcd: after it is in service, several
//! changes together, and never while the next one waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task;
use tokio::time::sleep;
use tracing::warn;

use super::{Fleet, Taken};
use crate::text::with_causes;

/// Changes within this time are written together.
const TOGETHER: Duration = Duration::from_millis(500);
/// How much longer than a write the pause after it is: what is large is not written all the time.
const REST: u32 = 20;

impl Fleet {
    /// Keeps what is in service on the disk, for as long as the daemon runs.
    pub(super) async fn keep_up(self: Arc<Self>) {
        loop {
            self.unkept.notified().await;
            sleep(TOGETHER).await;
            let started = Instant::now();
            self.keep().await;
            sleep(started.elapsed() * REST).await;
        }
    }

    /// Brings what is in service to the disk, if it is not there.
    pub(in crate::daemon) async fn keep(self: &Arc<Self>) {
        let _one_at_a_time = self.keeping.lock().await;
        let taken = {
            let state = self.state();
            let is_unkept = |taken: &Arc<Taken>| Some(&taken.origin) != state.kept.as_ref();
            state.in_service.clone().filter(is_unkept)
        };
        let Some(taken) = taken else { return };
        let fleet = Arc::clone(self);
        let written = task::spawn_blocking(move || {
            fleet.kept.write(&taken.texts, &taken.origin)?;
            fleet.state().kept = Some(taken.origin.clone());
            anyhow::Ok(())
        });
        let written = written.await.context("it was interrupted");
        if let Err(error) = written.and_then(|written| written) {
            warn!(
                "a start without etcd will serve older nodes: {}",
                with_causes(&error)
            );
        }
    }
}
