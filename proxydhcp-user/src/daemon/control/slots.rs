//! A limited number of slots. Their holders notice when others wait for one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

use crate::api::control::PATIENCE;

/// How long a client may keep the daemon waiting while others wait for its slot.
const HASTE: Duration = Duration::from_secs(1);

/// The slots, and the number of clients that wait for one.
pub(super) struct Slots {
    slots: Arc<Semaphore>,
    waiting: watch::Sender<usize>,
}

/// A slot, held until it is dropped.
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
    waiting: watch::Receiver<usize>,
}

impl Slots {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            waiting: watch::Sender::new(0),
        }
    }

    /// Takes a slot if one is free.
    pub(super) fn try_take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(self.slot(permit))
    }

    /// Waits for a slot.
    ///
    /// # Errors
    ///
    /// If the daemon is stopping.
    pub(super) async fn take(&self) -> Result<Slot> {
        if let Some(slot) = self.try_take() {
            return Ok(slot);
        }
        let _waits = Waits::new(&self.waiting);
        let permit = Arc::clone(&self.slots).acquire_owned().await?;
        Ok(self.slot(permit))
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        Slot {
            _permit: permit,
            waiting: self.waiting.subscribe(),
        }
    }
}

impl Slot {
    /// Runs work that depends on the client, within the client's time limit.
    ///
    /// # Errors
    ///
    /// If the work takes too long or fails.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T> {
        let mut waiting = self.waiting.clone();
        let hurried = async {
            sleep(HASTE).await;
            // An error means that the daemon stops.
            let _ = waiting.wait_for(|waiting| *waiting > 0).await;
        };
        tokio::select! {
            done = work => Ok(done?),
            () = hurried => bail!("a client kept others waiting"),
            () = sleep(PATIENCE) => bail!("a client takes too long"),
        }
    }
}

/// A waiter; dropping it gives up the wait.
struct Waits<'a>(&'a watch::Sender<usize>);

impl<'a> Waits<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting = waiting.saturating_add(1));
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0
            .send_modify(|waiting| *waiting = waiting.saturating_sub(1));
    }
}
