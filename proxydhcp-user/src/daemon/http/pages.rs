//! What is shown, made by the daemon's own threads, which may look into the service.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::api::metrics::{self, ProblemCounts};
use crate::api::storm::{Position, Update};
use crate::daemon::service::Service;
use crate::daemon::storm::Storm;

/// The text of a page, or why there is none.
pub(super) type Text = Result<String, String>;

/// What somebody waits for.
#[derive(Debug)]
pub(super) enum Asked {
    /// The metrics.
    Metrics(oneshot::Sender<Text>),
    /// Whether requests can be answered.
    Ready(oneshot::Sender<Text>),
    /// What is new about the nodes from a position on, with so many bytes of rows.
    Storm(Position, usize, oneshot::Sender<Update>),
}

/// Makes what is asked for, one thing at a time. It never ends before those who ask do.
pub(super) async fn make(
    service: Arc<Service>,
    storm: Arc<Storm>,
    mut asked: mpsc::Receiver<Asked>,
) {
    while let Some(asked) = asked.recv().await {
        let (service, storm) = (Arc::clone(&service), Arc::clone(&storm));
        // Nobody may wait for it any longer.
        let made = spawn_blocking(move || match asked {
            Asked::Metrics(reply) => drop(reply.send(metrics(&service))),
            Asked::Ready(reply) => drop(reply.send(match service.lacks() {
                lacks if lacks.is_empty() => Ok("ready\n".to_owned()),
                lacks => Err(lacks.join("\n") + "\n"),
            })),
            Asked::Storm(from, most, reply) => drop(reply.send(storm.update(from, most))),
        });
        // Whoever waits is told by the end of its channel.
        let _ = made.await;
    }
}

fn metrics(service: &Service) -> Text {
    let status = service
        .status(|table, names, trouble| ProblemCounts::new(table, names, trouble.as_deref()));
    metrics::text(&status, status.problems).map_err(|error| error.to_string())
}
