//! Follows the source: loads it, watches it, and puts what is new into service.

use std::sync::Arc;
use std::time::Duration;

use tokio::task;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{info, warn};

use super::Fleet;
use crate::daemon::service::Service;
use crate::fleet::client::Client;
use crate::fleet::followed::Followed;
use crate::fleet::serving::Serving;
use crate::fleet::store::{self, StoreError};
use crate::fleet::transport::TransportError;
use crate::fleet::watch::Watch;
use crate::fleet::wire::Failure;

/// Events that arrive within this time are put into service together.
const TOGETHER: Duration = Duration::from_millis(100);
/// How often etcd is asked whether it is still there, and whether what is known is true.
const BEAT: Duration = Duration::from_secs(10);
/// How long a service node is in etcd that no longer says anything, in seconds.
const LEASE: i64 = 35;
/// The first and the longest pause before etcd is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];

/// Follows the source for as long as the daemon runs.
pub(in crate::daemon) async fn follow(service: Arc<Service>, fleet: Arc<Fleet>) {
    tokio::spawn(Arc::clone(&fleet).keep_up());
    let [first, longest] = PAUSES;
    let mut pause = first;
    let mut follower = Follower {
        client: Client::of_host(fleet.access.clone(), &fleet.host.name),
        service,
        fleet,
        known: None,
        lease: None,
        said: String::new(),
        doubted: None,
    };
    loop {
        match follower.session(&mut pause).await {
            // Something must be loaded anew.
            Ok(()) => follower.known = None,
            Err(error) if error.is_compacted() => follower.known = None,
            Err(error) => {
                follower.fleet.is_stale(error.to_string());
                follower.client.next_member();
                sleep(pause).await;
                pause = longest.min(pause * 2);
            }
        }
    }
}

struct Follower {
    client: Client,
    service: Arc<Service>,
    fleet: Arc<Fleet>,
    known: Option<Followed>,
    /// The lease of what this service node says about itself.
    lease: Option<i64>,
    /// What was logged last about that.
    said: String,
    /// The revision of a manifest that is not true of its nodes, though they were loaded anew.
    doubted: Option<i64>,
}

impl Follower {
    /// Follows the source until it must be loaded anew. Resets `pause` once it answers.
    async fn session(&mut self, pause: &mut Duration) -> Result<(), StoreError> {
        let keys = self.fleet.keys.clone();
        let mut due = None;
        let mut known = if let Some(known) = self.known.take() {
            // What has come just before it was interrupted may not be in service.
            due = Some(Instant::now());
            known
        } else {
            let mut known = Followed::load(&mut self.client, &keys).await?;
            self.doubt(&known);
            self.publish(&mut known).await;
            known
        };
        let mut watch = match self.watch(known.revision() + 1).await {
            Ok(watch) => watch,
            Err(error) => return self.interrupted(known, false, error),
        };
        self.fleet.is_current();
        let [first, _] = PAUSES;
        *pause = first;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_part = false;
        let mut behind = None;
        loop {
            let publication = async {
                match due.filter(|_| !is_part) {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = watch.next() => {
                    let answer = match answer {
                        Ok(answer) => answer,
                        Err(error) => return self.interrupted(known, is_part, error.into()),
                    };
                    if answer.canceled {
                        info!("the watch has ended: {}", answer.cancel_reason);
                        if answer.compact_revision.0 > 0 {
                            return Ok(());
                        }
                        let failure = Failure { message: answer.cancel_reason, code: 0 };
                        let error = TransportError::Refused(failure);
                        return self.interrupted(known, is_part, error.into());
                    }
                    let news = known.take(&keys, &answer)?;
                    is_part = news.is_part;
                    if news.is_any {
                        behind = None;
                        due.get_or_insert(Instant::now() + TOGETHER);
                    }
                    if news.is_other {
                        due = Some(Instant::now());
                    }
                }
                () = publication => {
                    due = None;
                    if !known.is_whole() {
                        known.complete(&mut self.client, &keys).await?;
                        self.doubt(&known);
                    }
                    self.publish(&mut known).await;
                    // Whoever waits for it is told at once.
                    beat.reset_immediately();
                }
                // What is to be loaded in a moment is not true yet.
                _ = beat.tick(), if is_part || due.is_none() => match self.beat(&known, &mut behind).await {
                    Ok(true) => self.fleet.is_current(),
                    Ok(false) => return Ok(()),
                    Err(error) => return self.interrupted(known, is_part, error),
                },
            }
        }
    }

    async fn watch(&mut self, from: i64) -> Result<Watch, StoreError> {
        let keys = &self.fleet.keys;
        // A member without a leader grants a watch, and gives no answer.
        store::manifest(&mut self.client, keys, None).await?;
        Ok(self.client.watch(keys.watched(), from).await?)
    }

    /// Goes on from what is known once etcd answers again, unless that is half of a revision, or not the
    /// content in force.
    fn interrupted(
        &mut self,
        known: Followed,
        is_part: bool,
        error: StoreError,
    ) -> Result<(), StoreError> {
        self.known = Some(known).filter(|known| !is_part && known.is_whole());
        Err(error)
    }

    /// Notes whether what was loaded is what the manifest says.
    fn doubt(&mut self, known: &Followed) {
        self.doubted = (!known.is_true()).then(|| known.revision());
        if let Some(revision) = self.doubted {
            warn!(
                "what etcd has at revision {revision} is not what its manifest says, and is served as it is: \
                 another program has written keys; the next `node set` or `fleet push` mends that"
            );
        }
    }

    /// Puts what is known into service.
    async fn publish(&self, known: &mut Followed) {
        let rules = self.service.rules();
        let is_other = task::block_in_place(|| self.fleet.offer(known, rules));
        known.is_taken();
        if is_other {
            // The outcome is in the log and in the status.
            let _ = self.service.take_up().await;
        }
    }

    /// Asks etcd whether what is known is true, and says what this service node does. Returns false if
    /// all must be loaded anew.
    async fn beat(
        &mut self,
        known: &Followed,
        behind: &mut Option<Instant>,
    ) -> Result<bool, StoreError> {
        let (held, revision) = store::manifest(&mut self.client, &self.fleet.keys, None).await?;
        let written = held.map_or(0, |held| held.revision);
        let is_known = written == known.manifest().map_or(0, |held| held.revision);
        // What has been written just now may be on its way, but not for a whole beat in which nothing
        // has come.
        if !is_known {
            if behind.get_or_insert_with(Instant::now).elapsed() >= BEAT {
                warn!("the watch has missed revision {written}, of {revision}");
                return Ok(false);
            }
        } else if known.is_true() {
            (*behind, self.doubted) = (None, None);
        } else if self.doubted.is_none() {
            warn!("the nodes are not those of the manifest; loading them anew");
            return Ok(false);
        }
        match self.say().await {
            Ok(()) => self.said.clear(),
            Err(TransportError::Refused(failure)) => {
                if self.said != failure.message {
                    warn!("`fleet status` will lack this host: {}", failure.message);
                    self.said = failure.message;
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Writes what this service node says about itself.
    async fn say(&mut self) -> Result<(), TransportError> {
        let status = self.service.status(|_, _, _| ());
        let source = self.fleet.status();
        let counters = status.interfaces.iter().map(|it| it.counters.answered);
        let serving = Serving {
            version: status.version,
            revision: source.revision,
            hash: source.hash,
            range: source.range,
            generation: status.generation,
            nodes: status.nodes,
            answered: counters.sum(),
            bad: source.bad.count,
            rejected: status.rejected,
            at: crate::sys::clock::since_1970(),
        };
        let lease = match self.lease {
            Some(lease) if self.client.keep_alive(lease).await? => lease,
            _ => self.client.grant(LEASE).await?,
        };
        self.lease = Some(lease);
        let key = self.fleet.keys.serving(&self.fleet.host.name);
        let value = serde_json::to_vec(&serving).unwrap_or_default();
        self.client.put(key, value, lease).await
    }
}
