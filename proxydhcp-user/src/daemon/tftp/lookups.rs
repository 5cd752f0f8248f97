//! The requests that wait for a file to be found. Anybody on the network can send them, faster than a disk
//! answers, so that few wait here, and none whose place another has got. The others wait in the buffer of
//! the socket, where they take no memory of the daemon's.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::root::{Denied, Opened, Root};
use super::transfer::Progress;

/// The most that wait, those included that are being served.
const MOST: usize = 1024;
/// How long the next one waits for room. If the disk is as slow as that, the clients have asked again.
const PATIENCE: Duration = Duration::from_secs(1);

/// The queue of requests.
#[derive(Debug)]
pub(super) struct Lookups {
    root: Arc<Root>,
    room: Arc<Semaphore>,
}

/// A request's right to wait.
#[derive(Debug)]
pub(super) struct Ticket {
    _room: OwnedSemaphorePermit,
}

impl Lookups {
    pub(super) fn new(root: Root) -> Self {
        Self {
            root: Arc::new(root),
            room: Arc::new(Semaphore::new(MOST)),
        }
    }

    /// The TFTP root.
    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Lets one more request wait, once there is room; `None` if there is none for too long.
    pub(super) async fn admit(&self) -> Option<Ticket> {
        let room = Arc::clone(&self.room).acquire_owned();
        let room = timeout(PATIENCE, room).await.ok()?.ok()?;
        Some(Ticket { _room: room })
    }

    /// Opens the file that a client names, for the transfer with this progress. `None` if that has ended
    /// before its turn came.
    pub(super) async fn open(
        &self,
        ticket: Ticket,
        asked: String,
        transfer: Weak<Progress>,
    ) -> Option<Result<Opened, (String, Denied)>> {
        let root = Arc::clone(&self.root);
        // This goes on when the transfer's task ends, so that it is what holds the ticket.
        let open = move || {
            let opened = (transfer.strong_count() > 0)
                .then(|| root.open(&asked).map_err(|denied| (asked, denied)));
            drop(ticket);
            opened
        };
        spawn_blocking(open).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_transfer_that_has_ended_is_not_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"text").unwrap();
        let lookups = Lookups::new(Root::new(folder.path()));
        let progress = Arc::new(Progress::new());
        let transfer = Arc::downgrade(&progress);
        let open = async |transfer| {
            let ticket = lookups.admit().await.unwrap();
            lookups.open(ticket, "file".to_owned(), transfer).await
        };
        let opened = open(Weak::clone(&transfer)).await.unwrap().unwrap();
        assert_eq!((opened.name.as_str(), opened.size), ("file", 4));
        drop(progress);
        assert!(open(transfer).await.is_none());
    }

    #[tokio::test]
    async fn few_wait_and_the_next_one_comes_in_when_there_is_room() {
        let lookups = Lookups::new(Root::new(Path::new("/")));
        let mut tickets = Vec::new();
        for _ in 0..MOST {
            tickets.push(lookups.admit().await.unwrap());
        }
        assert!(lookups.admit().await.is_none());
        let leaves = async {
            tokio::time::sleep(PATIENCE / 2).await;
            tickets.pop();
        };
        let (next, ()) = tokio::join!(lookups.admit(), leaves);
        assert!(next.is_some());
    }
}
