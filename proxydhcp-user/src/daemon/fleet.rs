//! The source of a fleet, as a daemon sees it: what of it is in service, and whether it is the newest.
//!
//! [`follow`] keeps it up to date. Nothing waits for etcd: what is in service stays until there is
//! something newer, and lies on the disk for the next start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::api::status::{SourceStatus, age};
use crate::fleet::client::Access;
use crate::fleet::content::BadNode;
use crate::fleet::followed::Followed;
use crate::fleet::kept::{self, Kept, Origin};
use crate::fleet::keys::Keys;
use crate::nodes::cfg::texts::Texts;
use crate::sys::clock;
use crate::text::{Few, with_causes};
use crate::winpe::path::Rules;

mod follow;

pub(super) use follow::follow;

/// The source of a fleet.
#[derive(Debug)]
pub struct Fleet {
    access: Access,
    keys: Keys,
    /// The name of this service node.
    name: String,
    kept: Kept,
    state: Mutex<State>,
    /// Notified when what is in service is not what is on the disk.
    unkept: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What should be in service.
    newest: Option<Arc<Taken>>,
    /// What is.
    in_service: Option<Arc<Taken>>,
    /// What is on the disk.
    kept: Option<Origin>,
    stale: Option<Stale>,
}

/// Since when nobody knows whether what is in service is the newest.
#[derive(Clone, Debug)]
struct Stale {
    /// Seconds since 1970.
    since: f64,
    why: String,
}

/// Nodes that were taken from the source.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) texts: Texts,
    origin: Origin,
    bad: Vec<BadNode>,
}

impl Taken {
    fn new(followed: &Followed, prefix: &str, rules: Rules<'_>) -> Self {
        let content = followed.content();
        let (texts, bad) = content.texts(rules);
        Self {
            texts,
            origin: Origin {
                prefix: prefix.to_owned(),
                revision: followed.manifest().map_or(0, |held| held.revision),
                nodes: content.len(),
                hash: content.hash(),
            },
            bad,
        }
    }
}

impl Fleet {
    /// The source, with what was served from it last, which is in `folder`. `name` is that of this
    /// service node.
    ///
    /// # Errors
    /// If the folder cannot be made, or others may change it.
    pub fn open(access: Access, name: String, folder: &Path) -> Result<Self> {
        let kept = Kept::within(folder);
        kept.provide().context("the fleet's nodes have no place")?;
        let prefix = &access.address.prefix;
        let mut state = State::default();
        let mut stale = Stale {
            since: clock::since_1970(),
            why: "etcd has not been asked yet".to_owned(),
        };
        match kept.read(prefix) {
            Ok(Some((texts, origin, known))) => {
                let since = age(kept::since(known));
                info!(
                    "serving what {} had {since} ago, revision {}, until etcd answers",
                    access.address, origin.revision
                );
                stale.since = known.duration_since(UNIX_EPOCH)?.as_secs_f64();
                state.kept = Some(origin.clone());
                state.newest = Some(Arc::new(Taken {
                    texts,
                    origin,
                    bad: Vec::new(),
                }));
            }
            Ok(None) => {}
            Err(error) => error!("what was served last is lost: {}", with_causes(&error)),
        }
        state.stale = Some(stale);
        Ok(Self {
            keys: Keys::below(prefix),
            access,
            name,
            kept,
            state: Mutex::new(state),
            unkept: Notify::new(),
        })
    }

    /// The path of the file that the nodes in service are kept in.
    pub fn config(&self) -> PathBuf {
        self.kept.config()
    }

    /// What should be in service.
    ///
    /// # Errors
    /// If nothing has been taken from the source yet.
    pub(super) fn newest(&self) -> Result<Arc<Taken>, String> {
        let state = self.state();
        state.newest.clone().ok_or_else(|| {
            let why = state.stale.as_ref().map_or("", |stale| &stale.why);
            format!("{}: no nodes are known yet: {why}", self.access.address)
        })
    }

    /// Notes that this is in service.
    pub(super) fn accept(&self, taken: Arc<Taken>) {
        for BadNode { name, why } in taken.bad.iter().take(crate::text::SHOWN) {
            warn!("node {name} is refused: {why}");
        }
        self.state().in_service = Some(taken);
        self.unkept.notify_one();
    }

    /// What the status says about it.
    pub(super) fn status(&self) -> SourceStatus {
        let state = self.state();
        let taken = state.in_service.as_ref();
        let (origin, bad) =
            taken.map_or((None, &[][..]), |taken| (Some(&taken.origin), &taken.bad));
        SourceStatus {
            address: self.access.address.to_string(),
            revision: origin.map_or(0, |origin| origin.revision),
            newest: state
                .newest
                .as_ref()
                .map_or(0, |taken| taken.origin.revision),
            hash: origin.map_or_else(String::new, |origin| origin.hash.clone()),
            nodes: origin.map_or(0, |origin| origin.nodes),
            bad: Few::of(bad.iter().cloned()),
            stale_since: state.stale.as_ref().map(|stale| stale.since),
            stale_for: state
                .stale
                .as_ref()
                .map(|stale| (clock::since_1970() - stale.since).max(0.0)),
            why: state.stale.as_ref().map(|stale| stale.why.clone()),
        }
    }

    /// Has this be what should be in service. Returns whether it differs from what is.
    fn offer(&self, taken: Taken) -> bool {
        let mut state = self.state();
        let is_same = state.in_service.as_ref().is_some_and(|in_service| {
            in_service.texts == taken.texts && in_service.bad == taken.bad
        });
        let taken = Arc::new(taken);
        state.newest = Some(Arc::clone(&taken));
        if is_same {
            state.in_service = Some(taken);
            self.unkept.notify_one();
        }
        !is_same
    }

    fn is_current(&self) {
        if self.state().stale.take().is_some() {
            info!("following {}", self.access.address);
        }
        let kept = self.kept.clone();
        tokio::task::spawn_blocking(move || kept.confirm());
    }

    fn is_stale(&self, why: String) {
        let mut state = self.state();
        let before = state.stale.as_ref();
        if before.is_none_or(|before| before.why != why) {
            error!("what is in service stays, and may not be the newest: {why}");
        }
        let since = before.map_or_else(clock::since_1970, |before| before.since);
        state.stale = Some(Stale { since, why });
    }

    /// Brings what is in service to the disk, if it is not there.
    async fn keep(self: &Arc<Self>) {
        let taken = {
            let state = self.state();
            let origin = |taken: &Arc<Taken>| Some(&taken.origin) != state.kept.as_ref();
            state.in_service.clone().filter(origin)
        };
        let Some(taken) = taken else { return };
        let fleet = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            fleet.kept.write(&taken.texts, &taken.origin)?;
            fleet.state().kept = Some(taken.origin.clone());
            anyhow::Ok(())
        });
        if let Ok(Err(error)) = written.await {
            warn!(
                "a start without etcd will serve older nodes: {}",
                with_causes(&error)
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave a half-made change, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
