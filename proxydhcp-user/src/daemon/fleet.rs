//! The source of a fleet, as a daemon sees it: what of it is in service, and whether it is the newest.
//!
//! [`follow`] keeps it up to date. Nothing waits for etcd: what is in service stays until there is
//! something newer, and lies on the disk for the next start.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::{Context, Result};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::api::status::{SourceStatus, age};
use crate::fleet::changed::Boots;
use crate::fleet::client::Access;
use crate::fleet::followed::Followed;
use crate::fleet::item::{BadItem, Kind};
use crate::fleet::kept::{self, Kept, Origin};
use crate::fleet::keys::Keys;
use crate::fleet::portion::{self, Portion};
use crate::fleet::settings::FleetSettings;
use crate::nodes::cfg::texts::Texts;
use crate::sys::clock;
use crate::tables::policy::Unknown;
use crate::text::{Few, printable, with_causes};
use crate::winpe::path::Rules;

mod follow;
mod keep;

pub(super) use follow::follow;

/// The source of a fleet.
#[derive(Debug)]
pub struct Fleet {
    access: Access,
    keys: Keys,
    /// What this service node is called, and what it serves.
    host: Host,
    kept: Kept,
    state: Mutex<State>,
    /// Notified when what is in service is not what is on the disk.
    unkept: Notify,
    /// Held by whoever writes it there.
    keeping: tokio::sync::Mutex<()>,
}

/// A service node.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// The noderange that it serves; `None`: all nodes.
    pub range: Option<String>,
    /// What clients without a record get, unless the source says something else.
    pub unknown: Unknown,
    /// Whether all clients get an offer, which leads those without a record to the default WinPE.
    pub offers_to_all: bool,
}

impl Host {
    /// The settings without those that contradict this host's own.
    fn heed(&self, settings: FleetSettings) -> (FleetSettings, Option<BadItem>) {
        let is_sound = |unknown| unknown == Unknown::Default;
        if !self.offers_to_all || settings.unknown().is_none_or(is_sound) {
            return (settings, None);
        }
        let bad = BadItem {
            kind: Kind::Setting,
            name: "unknown".to_owned(),
            why: "this host's offers to all clients lead those without a record to the default WinPE; set \
                  unknown = \"default\" for the fleet, or offers = \"known\" on this host"
                .to_owned(),
        };
        (settings.without_unknown(), Some(bad))
    }
}

#[derive(Debug, Default)]
struct State {
    /// What should be in service.
    newest: Option<Arc<Taken>>,
    /// What is.
    in_service: Option<Arc<Taken>>,
    /// What of it is served, if not all.
    portion: Option<Portion>,
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
    texts: Texts,
    /// The settings that count on this host.
    settings: FleetSettings,
    /// What makes it another than what was taken before, if that is little.
    change: Option<(Weak<Self>, Texts)>,
    origin: Origin,
    bad: Vec<BadItem>,
}

impl Taken {
    /// The settings that count on this host.
    pub(super) fn settings(&self) -> &FleetSettings {
        &self.settings
    }

    /// What is known now. If only some nodes boot something else than in `before`, which was taken last,
    /// this costs as much as they do.
    fn new(
        followed: &Followed,
        before: Option<&Arc<Self>>,
        prefix: &str,
        host: &Host,
        rules: Rules<'_>,
    ) -> Self {
        let content = followed.content();
        let (settings, contradiction) = host.heed(content.settings().0);
        let origin = Origin {
            prefix: prefix.to_owned(),
            revision: followed.manifest().map_or(0, |held| held.revision),
            nodes: content.len(),
            hash: content.hash(),
        };
        let little = before.zip(followed.changed());
        let little = little.and_then(|(before, changed)| {
            let Boots { texts, bad } = changed.boots(content, rules)?;
            let whole = before.texts.with(&texts)?;
            let names: HashSet<_> = changed
                .names()
                .map(|name| printable(name.as_bytes()))
                .collect();
            let is_other = |bad: &&BadItem| bad.kind != Kind::Node || !names.contains(&bad.name);
            let other = before.bad.iter().filter(is_other);
            Some(Self {
                texts: whole,
                settings: settings.clone(),
                change: Some((Arc::downgrade(before), texts)),
                origin: origin.clone(),
                bad: other.cloned().chain(bad).collect(),
            })
        });
        little.unwrap_or_else(|| {
            let (texts, mut bad) = content.texts(rules);
            bad.extend(contradiction);
            Self {
                texts,
                settings,
                change: None,
                origin,
                bad,
            }
        })
    }
}

impl Fleet {
    /// The source, with what was served from it last, which is in `folder`.
    ///
    /// # Errors
    /// If the folder cannot be made, or others may change it.
    pub fn open(access: Access, host: Host, folder: &Path) -> Result<Self> {
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
                stale.since = clock::seconds(known);
                state.kept = Some(origin.clone());
                let settings = texts.settings.as_deref().unwrap_or_default();
                let settings = FleetSettings::parse(settings).unwrap_or_else(|why| {
                    error!("the fleet's settings are lost, and this host's own count: {why}");
                    FleetSettings::default()
                });
                let (settings, contradiction) = host.heed(settings);
                state.newest = Some(Arc::new(Taken {
                    texts,
                    settings,
                    change: None,
                    origin,
                    bad: contradiction.into_iter().collect(),
                }));
            }
            Ok(None) => {}
            Err(error) => error!("what was served last is lost: {}", with_causes(&error)),
        }
        state.stale = Some(stale);
        Ok(Self {
            keys: Keys::below(prefix),
            access,
            host,
            kept,
            state: Mutex::new(state),
            unkept: Notify::new(),
            keeping: tokio::sync::Mutex::new(()),
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

    /// What of this is new, if it is little, and all else is in service on a service node that serves all
    /// nodes.
    pub(super) fn change<'t>(&self, taken: &'t Taken) -> Option<&'t Texts> {
        let (before, texts) = taken.change.as_ref()?;
        let state = self.state();
        let in_service = state.in_service.as_ref()?;
        if self.host.range.is_some() {
            return None;
        }
        (Weak::as_ptr(before) == Arc::as_ptr(in_service)).then_some(texts)
    }

    /// What this service node serves of it, which is all of it where no portion is returned. This reads
    /// the groups file.
    ///
    /// # Errors
    /// If the noderange is wrong, or names a group that there is not.
    pub(super) fn portion<'t>(
        &self,
        taken: &'t Taken,
    ) -> Result<(Cow<'t, Texts>, Option<Portion>)> {
        let Some(range) = &self.host.range else {
            return Ok((Cow::Borrowed(&taken.texts), None));
        };
        let unknown = taken.settings.unknown().unwrap_or(self.host.unknown);
        let (texts, portion) = portion::of(&taken.texts, range, unknown.serves_strangers())?;
        if portion.nodes == 0 {
            warn!("no node of {} is in the range {range}", self.access.address);
        }
        Ok((Cow::Owned(texts), Some(portion)))
    }

    /// Notes that this is in service, or this portion of it.
    pub(super) fn accept(&self, taken: Arc<Taken>, portion: Option<Portion>) {
        for bad in taken.bad.iter().take(crate::text::SHOWN) {
            warn!("{bad}");
        }
        let mut state = self.state();
        (state.in_service, state.portion) = (Some(taken), portion);
        drop(state);
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
            range: state.portion.clone(),
            bad: Few::of(bad.iter().cloned()),
            stale_since: state.stale.as_ref().map(|stale| stale.since),
            stale_for: state
                .stale
                .as_ref()
                .map(|stale| (clock::since_1970() - stale.since).max(0.0)),
            why: state.stale.as_ref().map(|stale| stale.why.clone()),
        }
    }

    /// Has what is known be what should be in service. Returns whether it differs from what is.
    fn offer(&self, followed: &Followed, rules: Rules<'_>) -> bool {
        let before = self.state().newest.clone();
        let prefix = &self.access.address.prefix;
        let taken = Taken::new(followed, before.as_ref(), prefix, &self.host, rules);
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

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave a half-made change, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_was_kept_is_served_whatever_the_clock_was() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access {
            address: "etcd://127.0.0.1/p".parse().unwrap(),
            ca: PathBuf::new(),
            login: None,
        };
        let host = Host {
            name: "sn1".to_owned(),
            range: None,
            unknown: Unknown::Ignore,
            offers_to_all: false,
        };
        let origin = Origin {
            prefix: "p".to_owned(),
            revision: 7,
            ..Origin::default()
        };
        let kept = Kept::within(folder.path());
        kept.write(&Texts::default(), &origin).unwrap();
        let times = FileTimes::new().set_modified(UNIX_EPOCH - Duration::from_hours(24));
        let of = folder.path().join("last/origin.json");
        File::open(of).unwrap().set_times(times).unwrap();
        let fleet = Fleet::open(access, host, folder.path()).unwrap();
        assert_eq!(fleet.newest().unwrap().origin, origin);
        assert_eq!(fleet.status().stale_since, Some(0.0));
    }
}
