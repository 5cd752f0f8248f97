//! Places that there are few of. Whoever has one learns when others wait for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

use crate::api::control::PATIENCE;

/// How long a client may keep the daemon waiting while others wait for its place.
const HASTE: Duration = Duration::from_secs(1);

/// The places, and how many wait for one.
pub(super) struct Room {
    places: Arc<Semaphore>,
    waiting: watch::Sender<usize>,
}

/// A place, until it is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    waiting: watch::Receiver<usize>,
}

impl Room {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            waiting: watch::Sender::new(0),
        }
    }

    /// A place, if one is free.
    pub(super) fn try_enter(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(self.place(permit))
    }

    /// Waits for a place.
    ///
    /// # Errors
    ///
    /// The daemon ends.
    pub(super) async fn enter(&self) -> Result<Place> {
        if let Some(place) = self.try_enter() {
            return Ok(place);
        }
        let _waits = Waits::new(&self.waiting);
        let permit = Arc::clone(&self.places).acquire_owned().await?;
        Ok(self.place(permit))
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        Place {
            _permit: permit,
            waiting: self.waiting.subscribe(),
        }
    }
}

impl Place {
    /// What depends on a client alone, for as long as it may take.
    ///
    /// # Errors
    ///
    /// It has taken too long, or the work has failed.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T> {
        let mut waiting = self.waiting.clone();
        let hurried = async {
            sleep(HASTE).await;
            // It fails when the daemon stops.
            let _ = waiting.wait_for(|waiting| *waiting > 0).await;
        };
        tokio::select! {
            done = work => Ok(done?),
            () = hurried => bail!("a client that keeps others waiting is hung up on"),
            () = sleep(PATIENCE) => bail!("a client takes too long"),
        }
    }
}

/// One that waits, which it may give up.
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
