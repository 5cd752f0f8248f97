//! Makes the replies that are sent. Those that may take long are made beside the daemon's own work,
//! a few at a time, and all who wait for the same reply share one.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use super::slots::{Slot, Slots};
use crate::api::control::{Allowed, PAGE, Reply};
use crate::api::status::{Lists, Problems, Reloaded};
use crate::api::storm::Position;
use crate::daemon::service::{Outcome, Service};
use crate::daemon::storm::Storm;
use crate::sys::heap;
use crate::text::with_causes;
use crate::winpe::architecture::Architecture;

/// The number of replies of each kind that exist at a time, while they are made or wait to be
/// taken. Long ones take memory, and each look-up reads the whole hosts file.
const AT_A_TIME: usize = 2;

/// Memory of a reply of this length or more, in bytes, is returned to the system at once.
const LARGE: usize = 1 << 20;

/// A reply as it is sent. It holds a slot until it is taken.
pub(super) struct MadeReply {
    pub(super) line: Vec<u8>,
    pub(super) slot: Slot,
}

impl MadeReply {
    async fn new(slots: &Slots, reply: impl FnOnce() -> Reply + Send + 'static) -> Result<Self> {
        let slot = slots.take().await?;
        // The slot moves along, because the work goes on even if nobody waits for it any longer.
        spawn_blocking(move || {
            let line = line(&reply())?;
            if line.len() >= LARGE {
                // Frees the lists that the reply was made from.
                heap::give_back();
            }
            Ok(Self { line, slot })
        })
        .await?
    }
}

impl Drop for MadeReply {
    fn drop(&mut self) {
        if self.line.len() >= LARGE {
            self.line = Vec::new();
            heap::give_back();
        }
    }
}

/// Encodes a reply on a line of its own.
pub(super) fn line(reply: &Reply) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    Ok(line)
}

/// A reply that several clients wait for; `None` if it could not be made.
type Awaited = Shared<BoxFuture<'static, Option<Arc<MadeReply>>>>;

/// Makes replies, and shares those that several clients wait for.
pub(super) struct Replies {
    service: Arc<Service>,
    storm: Arc<Storm>,
    short: Slots,
    long: Slots,
    lookups: Slots,
    nodes: Slots,
    updates: Slots,
    reloads: Reloads,
    next_short: Mutex<Option<Awaited>>,
    next_long: Mutex<Option<Awaited>>,
}

impl Replies {
    pub(super) fn new(service: Arc<Service>, storm: Arc<Storm>) -> Self {
        Self {
            service,
            storm,
            short: Slots::new(AT_A_TIME),
            long: Slots::new(AT_A_TIME),
            lookups: Slots::new(AT_A_TIME),
            nodes: Slots::new(AT_A_TIME),
            updates: Slots::new(AT_A_TIME),
            reloads: Reloads::default(),
            next_short: Mutex::default(),
            next_long: Mutex::default(),
        }
    }

    /// The reply to a status request, made now or later.
    pub(super) async fn status(self: &Arc<Self>, whole: bool) -> Result<Arc<MadeReply>> {
        let awaited = {
            let mut next = self
                .next(whole)
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            next.get_or_insert_with(|| self.begin(whole)).clone()
        };
        awaited.await.context("the status cannot be shown")
    }

    fn next(&self, whole: bool) -> &Mutex<Option<Awaited>> {
        if whole {
            &self.next_long
        } else {
            &self.next_short
        }
    }

    fn begin(self: &Arc<Self>, whole: bool) -> Awaited {
        let replies = Arc::clone(self);
        // The client that asked first may hang up.
        let made = tokio::spawn(async move {
            let slots = if whole { &replies.long } else { &replies.short };
            let replies = Arc::clone(&replies);
            MadeReply::new(slots, move || {
                // Clients that ask from here on get a later status.
                let next = replies.next(whole).lock();
                drop(next.unwrap_or_else(PoisonError::into_inner).take());
                let service = &replies.service;
                if whole {
                    Reply::Status(Box::new(service.status(Lists::new)))
                } else {
                    Reply::Brief(Box::new(service.status(Problems::new)))
                }
            })
            .await
        });
        let made = made.map(|made| made.ok()?.ok().map(Arc::new));
        made.boxed().shared()
    }

    /// The reply to a look-up of a client.
    pub(super) async fn lookup(&self, client: String, arch: u16) -> Result<Arc<MadeReply>> {
        let service = Arc::clone(&self.service);
        let made = MadeReply::new(&self.lookups, move || {
            Reply::Looked(service.look_up(&client, Architecture(arch)))
        });
        Ok(Arc::new(made.await?))
    }

    /// The reply to the question which nodes have a WinPE.
    pub(super) async fn users(&self, winpe: String) -> Result<Arc<MadeReply>> {
        let service = Arc::clone(&self.service);
        let made = MadeReply::new(&self.long, move || Reply::Users(service.users(&winpe)));
        Ok(Arc::new(made.await?))
    }

    /// The reply to one who watches the nodes.
    pub(super) async fn storm(&self, from: Position) -> Result<Arc<MadeReply>> {
        let storm = Arc::clone(&self.storm);
        let made = MadeReply::new(&self.updates, move || {
            Reply::Storm(Box::new(storm.update(from, usize::MAX)))
        });
        Ok(Arc::new(made.await?))
    }

    /// The reply to a request for what nodes have done.
    pub(super) async fn nodes(
        &self,
        names: Option<Vec<String>>,
        from: usize,
    ) -> Result<Arc<MadeReply>> {
        let service = Arc::clone(&self.service);
        let made = MadeReply::new(&self.nodes, move || {
            let view = service.activity();
            Reply::Nodes(match names {
                Some(names) => view.named(&names),
                None => view.page(from, PAGE),
            })
        });
        Ok(Arc::new(made.await?))
    }

    /// The reply to a request for what has happened.
    pub(super) async fn events(&self, after: u64) -> Result<Arc<MadeReply>> {
        let service = Arc::clone(&self.service);
        let made = MadeReply::new(&self.nodes, move || Reply::Events(service.events(after)));
        Ok(Arc::new(made.await?))
    }

    /// The reply to a request for the last clients that are no node.
    pub(super) async fn strangers(&self) -> Result<Arc<MadeReply>> {
        let service = Arc::clone(&self.service);
        let made = MadeReply::new(&self.nodes, move || {
            Reply::Strangers(service.activity().strangers())
        });
        Ok(Arc::new(made.await?))
    }

    /// The reply to a reload request. All who have asked for the same reload get the same reply.
    pub(super) async fn reload(&self, allowed: Allowed) -> Result<Arc<MadeReply>> {
        let outcome = self.service.reload(allowed).await;
        let once = self.reloads.of(&outcome);
        let made = once.get_or_try_init(|| async {
            let outcome = Arc::clone(&outcome);
            let made = MadeReply::new(&self.long, move || reloaded(&outcome));
            anyhow::Ok(Arc::new(made.await?))
        });
        Ok(Arc::clone(made.await?))
    }
}

/// A reply that is made once.
type Once = OnceCell<Arc<MadeReply>>;

/// The reply to the reload with this outcome.
struct ReloadReply {
    outcome: Weak<Result<Arc<Reloaded>>>,
    reply: Weak<Once>,
}

/// The replies to reloads, kept as long as clients wait for them or take them.
#[derive(Default)]
struct Reloads(Mutex<Vec<ReloadReply>>);

impl Reloads {
    /// Finds or adds the reply to the reload with this outcome.
    fn of(&self, outcome: &Outcome) -> Arc<Once> {
        let mut replies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        replies.retain(|reply| reply.reply.strong_count() > 0);
        let found = replies
            .iter()
            .find(|reply| reply.outcome.as_ptr() == Arc::as_ptr(outcome));
        if let Some(reply) = found.and_then(|found| found.reply.upgrade()) {
            return reply;
        }
        let reply = Arc::default();
        replies.push(ReloadReply {
            outcome: Arc::downgrade(outcome),
            reply: Arc::downgrade(&reply),
        });
        reply
    }
}

fn reloaded(outcome: &Result<Arc<Reloaded>>) -> Reply {
    match outcome {
        Ok(reloaded) => Reply::Reloaded(Arc::clone(reloaded)),
        Err(error) => Reply::Rejected(with_causes(error)),
    }
}
