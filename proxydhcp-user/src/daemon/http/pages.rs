//! What is shown, made by the daemon's own threads, which may look into the service.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::api::metrics::{self, ProblemCounts};
use crate::daemon::service::Service;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// The metrics.
    Metrics,
    /// Whether requests can be answered.
    Ready,
}

/// A page that somebody waits for: its text, or why there is none.
pub(super) type Asked = (Page, oneshot::Sender<Result<String, String>>);

/// Makes the pages that are asked for, one at a time. It never ends before those who ask do.
pub(super) async fn make(service: Arc<Service>, mut asked: mpsc::Receiver<Asked>) {
    while let Some((page, reply)) = asked.recv().await {
        let service = Arc::clone(&service);
        let made = spawn_blocking(move || match page {
            Page::Metrics => metrics(&service),
            Page::Ready => match service.lacks() {
                lacks if lacks.is_empty() => Ok("ready\n".to_owned()),
                lacks => Err(lacks.join("\n") + "\n"),
            },
        });
        let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
        // Nobody may wait for it any longer.
        let _ = reply.send(made);
    }
}

fn metrics(service: &Service) -> Result<String, String> {
    let status = service
        .status(|table, names, trouble| ProblemCounts::new(table, names, trouble.as_deref()));
    metrics::text(&status, status.problems).map_err(|error| error.to_string())
}
