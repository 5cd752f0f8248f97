//! The storm for the page: a snapshot, and then events with what changes.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::{Semaphore, TryAcquireError, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::feed::{Feed, TooSlow};
use super::pages::Asked;
use crate::api::storm::{Position, Totals, Update};

/// The number of pages that follow the storm at a time: half of the clients that there may be.
const FOLLOWERS: usize = 32;
/// How often a page is told what has changed.
const TICK: Duration = Duration::from_millis(500);
/// The bytes of states in an event. In base64 and with the sums that makes less than 1 MB a second.
const MOST: usize = 320 << 10;
/// The bytes that are sent at a time.
const PIECE: usize = 64 << 10;

/// Sends the storm to pages.
#[derive(Clone)]
pub(super) struct Storms {
    ask: mpsc::Sender<Asked>,
    places: Arc<Semaphore>,
}

/// What stands before the bytes of a snapshot, on a line of its own.
#[derive(Serialize)]
struct Head<'a> {
    position: Position,
    now: u64,
    totals: &'a Totals,
    nodes: u32,
    groups: &'a [(String, u32)],
    winpes: &'a [String],
    /// The number of bytes of names; those of rows follow.
    names: usize,
}

impl Storms {
    pub(super) fn new(ask: mpsc::Sender<Asked>) -> Self {
        Self {
            ask,
            places: Arc::new(Semaphore::new(FOLLOWERS)),
        }
    }

    /// All nodes and their states: a line of JSON, their names, and their states.
    pub(super) async fn snapshot(&self) -> Option<Bytes> {
        let update = self.update(Position::default(), usize::MAX).await?;
        let names = update.names.unwrap_or_default();
        let head = Head {
            position: update.position,
            now: update.now,
            totals: &update.totals,
            nodes: names.nodes,
            groups: &names.groups,
            winpes: &names.winpes,
            names: names.bytes.len(),
        };
        let mut bytes = serde_json::to_vec(&head).ok()?;
        bytes.push(b'\n');
        bytes.extend(names.bytes);
        bytes.extend(update.rows);
        Some(bytes.into())
    }

    /// Sends a long text in pieces.
    pub(super) async fn send(mut feed: Feed, mut bytes: Bytes) -> Result<(), TooSlow> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            feed.send(piece).await?;
        }
        Ok(())
    }

    /// A place among those who follow, unless all are taken.
    pub(super) fn place(&self) -> Result<Follower, TryAcquireError> {
        let place = Arc::clone(&self.places).try_acquire_owned()?;
        Ok(Follower {
            storms: self.clone(),
            _place: place,
        })
    }

    async fn update(&self, from: Position, most: usize) -> Option<Update> {
        let (reply, made) = oneshot::channel();
        self.ask.send(Asked::Storm(from, most, reply)).await.ok()?;
        made.await.ok()
    }
}

/// Somebody who follows the storm.
pub(super) struct Follower {
    storms: Storms,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Follower {
    /// Sends an event whenever something can have changed, until the page goes away, the daemon stops, or
    /// there are other nodes.
    pub(super) async fn follow(self, mut feed: Feed, from: Position) -> Result<(), TooSlow> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut position = from;
        loop {
            ticks.tick().await;
            let Some(update) = self.storms.update(position, MOST).await else {
                return Ok(());
            };
            if update.names.is_some() {
                // The page asks for the names, and then for what has changed since.
                return feed.send("event: others\ndata:\n\n".into()).await;
            }
            position = update.position;
            let Ok(data) = serde_json::to_string(&update) else {
                return Ok(());
            };
            feed.send(format!("data: {data}\n\n").into()).await?;
        }
    }
}
