//! Answers that take their time: each piece must be taken within the time that other answers have as a
//! whole.

use std::future::Future;
use std::io;
use std::time::Duration;

use http_body_util::channel::{Channel, Sender};
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a client may take for all of its request and the answer, or for each piece of a long one. Half
/// of what Prometheus allows a scrape, so that one that waits for its turn gets it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The body of an answer: whole, or in pieces.
pub(super) type Body = Either<Full<Bytes>, Channel<Bytes, io::Error>>;

/// Takes the pieces of an answer.
pub(super) struct Feed(Sender<Bytes, io::Error>);

/// The error that a client does not take what it has asked for.
#[derive(Debug)]
pub(super) struct TooSlow;

impl Feed {
    /// A body, and the task that feeds it. The connection is to end with the task.
    pub(super) fn body<F>(feed: impl FnOnce(Self) -> F) -> (Body, JoinHandle<()>)
    where
        F: Future<Output = Result<(), TooSlow>> + Send + 'static,
    {
        let (sender, body) = Channel::new(1);
        let fed = feed(Self(sender));
        let task = tokio::spawn(async move {
            // The end of the body says so, and before its time if it has been announced how long it is.
            let _ = fed.await;
        });
        (Either::Right(body), task)
    }

    /// Sends a piece.
    pub(super) async fn send(&mut self, piece: Bytes) -> Result<(), TooSlow> {
        let sent = timeout(PATIENCE, self.0.send_data(piece)).await;
        sent.map_err(|_| TooSlow)?.map_err(|_| TooSlow)
    }
}
