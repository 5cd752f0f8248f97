//! The requests that wait for a file to be found. Anybody on the network can send them, faster than a disk
//! answers, so that few wait, and none whose place another has got.

use std::path::Path;
use std::sync::{Arc, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::root::{Denied, Opened, Root};
use super::transfer::Progress;

/// The most that wait, those included that are being served. Clients ask again after a second or so.
const MOST: usize = 1024;

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

    /// Lets one more request wait, if there is room.
    pub(super) fn admit(&self) -> Option<Ticket> {
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
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
        let open = |transfer| {
            let ticket = lookups.admit().unwrap();
            lookups.open(ticket, "file".to_owned(), transfer)
        };
        let opened = open(Weak::clone(&transfer)).await.unwrap().unwrap();
        assert_eq!((opened.name.as_str(), opened.size), ("file", 4));
        drop(progress);
        assert!(open(transfer).await.is_none());
    }

    #[test]
    fn few_wait() {
        let lookups = Lookups::new(Root::new(Path::new("/")));
        let tickets: Vec<_> = (0..2 * MOST).filter_map(|_| lookups.admit()).collect();
        assert_eq!(tickets.len(), MOST);
        drop(tickets);
        assert!(lookups.admit().is_some());
    }
}
