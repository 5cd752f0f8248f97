//! The running service: a catalogue of what is served, the interfaces that serve it, and what brings
//! new tables to them: [`Service::reload`], [`Service::refresh`] and [`Service::readdress`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::task;

use crate::api::status::{NamesTold, Status};
use crate::daemon::Settings;
use crate::daemon::watch::Watching;
use crate::datapath::Shared;
use crate::datapath::unknown_clients::UnknownClients;
use crate::names::forward::Names;
use crate::names::hosts;
use crate::names::reverse::{LookedUp, LookupStatus};
use crate::names::saved;
use crate::sys::heap;
use crate::sys::interface::{self, Interface};
use crate::tables::explain::{Looked, Question, explain};
use crate::tables::table::Table;
use crate::text::count;
use crate::winpe::architecture::Architecture;

mod announce;
mod catalogue;
mod effective_policy;
mod failure;
mod install;
mod interfaces;
mod leftovers;
mod reload;

pub(crate) use install::Asked;
pub(crate) use reload::Outcome;

use announce::announce;
use catalogue::Catalogue;
use interfaces::Interfaces;

/// The service. Dropping it stops all datapaths.
///
/// Where both locks are held, that of the interfaces was taken first.
pub(crate) struct Service {
    settings: Settings,
    /// Who watches the files, and may have trouble with it.
    watching: Option<Watching>,
    started: Instant,
    /// What the packet threads answer by.
    shared: Arc<Shared>,
    catalogue: Mutex<Catalogue>,
    interfaces: Mutex<Interfaces>,
    /// Held while tables are made and installed: one at a time.
    installing: tokio::sync::Mutex<()>,
    /// The reloads that have been asked for and have not begun, by what they may empty.
    waiting: Mutex<HashMap<bool, reload::Awaited>>,
    /// Since when the files are being read again, if they are.
    reloading: watch::Sender<Option<Instant>>,
    /// Names are to be asked for.
    pub(crate) reloaded: Notify,
    /// There may be answers of the resolver to save.
    pub(crate) answered: Notify,
    /// Interfaces that could not be served are to be tried again at other times.
    failures_changed: Notify,
}

impl Service {
    /// Starts to serve interfaces out of `all` that there are. A file that is rejected does not keep
    /// the service from starting, with no nodes: it is reloaded when the file is mended.
    ///
    /// # Errors
    ///
    /// A datapath cannot be opened.
    pub(crate) async fn start(
        settings: Settings,
        watching: Option<Watching>,
        unknown_clients: Option<UnknownClients>,
        all: &[Interface],
    ) -> Result<Self> {
        // A daemon before may be ending: what is read afterwards is newer.
        let pins = leftovers::take_pins(&settings).await;
        let answers_nodes = || leftovers::answer_nodes(&settings, pins.as_ref(), all);
        let (catalogue, generation) = Catalogue::begin(&settings, answers_nodes, all).await?;
        let shared = Arc::new(Shared {
            tables: ArcSwap::from_pointee(generation),
            unknown_clients,
            ..Shared::default()
        });
        let service = Self {
            interfaces: Mutex::new(Interfaces::new(&settings, Arc::clone(&shared), pins)),
            catalogue: Mutex::new(catalogue),
            settings,
            watching,
            started: Instant::now(),
            shared,
            installing: tokio::sync::Mutex::new(()),
            waiting: Mutex::default(),
            reloading: watch::Sender::new(None),
            reloaded: Notify::new(),
            answered: Notify::new(),
            failures_changed: Notify::new(),
        };
        let awaits_tables = service.catalogue().awaits_tables;
        service.interfaces().start(all, awaits_tables)?;
        let table = Arc::clone(&service.catalogue().table);
        service.announce(&Table::empty(), &table);
        heap::give_back();
        Ok(service)
    }

    /// Works on what the resolver has said.
    pub(crate) fn with_names<T>(&self, work: impl FnOnce(&mut Names, &mut LookedUp) -> T) -> T {
        let Catalogue {
            names, looked_up, ..
        } = &mut *self.catalogue();
        work(Arc::make_mut(names), Arc::make_mut(looked_up))
    }

    /// Writes the resolver's answers to their file.
    ///
    /// # Errors
    ///
    /// The file cannot be written; it is as it was.
    pub(crate) async fn save_answers(&self) -> Result<()> {
        let names = {
            let catalogue = self.catalogue();
            if catalogue.awaits_tables {
                // Those of the file are still to be taken up.
                return Ok(());
            }
            Arc::clone(&catalogue.names)
        };
        let path = self.settings.saved.clone();
        task::spawn_blocking(move || {
            let written = saved::write(&path, &saved::text(&names));
            written.with_context(|| format!("cannot write {}", path.display()))
        })
        .await?
    }

    /// How things stand, with what is wrong as `of` finds it. That may take long where much is, and
    /// the service does not wait for it.
    pub(crate) fn status<P>(
        &self,
        of: impl FnOnce(&Table, &Names, Option<String>) -> P,
    ) -> Status<P> {
        let unknown_clients = self.shared.unknown_clients.as_ref();
        let catalogue = self.catalogue();
        let (table, names) = (Arc::clone(&catalogue.table), Arc::clone(&catalogue.names));
        let lookups = unknown_clients
            .map(|clients| LookupStatus::new(&catalogue.looked_up, clients.dropped()));
        let waited_for = catalogue.waited_for(&self.settings.policy);
        let rejected = catalogue.rejected.clone();
        let generation = self.shared.tables.load().number;
        drop(catalogue);
        let (served, unserved) = {
            let interfaces = self.interfaces();
            (interfaces.status(), interfaces.unserved())
        };
        let trouble = self.watching.as_ref().and_then(Watching::trouble);
        let reloading = *self.reloading.borrow();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs_f64(),
            generation,
            nodes: table.nodes().len(),
            records: table.records(),
            config: self.settings.sources.config.clone(),
            reloading: reloading.map(|since| since.elapsed().as_secs_f64()),
            rejected,
            problems: of(&table, &names, trouble),
            waited_for,
            lookups,
            interfaces: served,
            unserved,
        }
    }

    /// What a client gets, and why, by the tables in service. This reads the hosts file, which may
    /// be long, or on a slow disk, and the service does not wait for it.
    pub(crate) fn look_up(&self, client: &str, arch: Architecture) -> Vec<Looked> {
        let hosts = hosts::read(&self.settings.sources.hosts);
        let catalogue = self.catalogue();
        let generation = self.shared.tables.load_full();
        let (table, names) = (Arc::clone(&catalogue.table), Arc::clone(&catalogue.names));
        let looked_up = Arc::clone(&catalogue.looked_up);
        let waited_for = catalogue.waited_for(&self.settings.policy);
        let policy = match waited_for {
            0 => catalogue.policy.clone(),
            // What it will be is told along with that.
            _ => self.settings.policy.clone(),
        };
        let (local, rejected) = (catalogue.local.clone(), catalogue.rejected.clone());
        drop(catalogue);
        explain(&Question {
            asked: client,
            arch,
            table: &table,
            names: &names,
            looked_up: &looked_up,
            generation: &generation,
            policy: &policy,
            sources: &self.settings.sources,
            hosts: &hosts,
            local: &local,
            rejected: rejected.as_deref(),
            waited_for,
        })
    }

    /// The names that are not as they should be.
    pub(crate) fn names_told(&self) -> NamesTold {
        let (table, names) = {
            let catalogue = self.catalogue();
            (Arc::clone(&catalogue.table), Arc::clone(&catalogue.names))
        };
        task::block_in_place(|| NamesTold::new(&table, &names))
    }

    /// Looks at the interfaces again: serves those that have come, lets go of those that have gone,
    /// and answers to the addresses that this host has now. Those that were `deleted` are others
    /// now, also where they look the same.
    ///
    /// # Errors
    ///
    /// The interfaces cannot be listed; the tables for the addresses cannot be installed, and those in
    /// service stay.
    pub(crate) async fn interfaces_changed(&self, deleted: &[u32]) -> Result<()> {
        let _one_at_a_time = self.installing.lock().await;
        let all = interface::list().await?;
        let changed = task::block_in_place(|| {
            let readdressed = self.readdress(interface::local_addresses(&all));
            let awaits_tables = self.catalogue().awaits_tables;
            self.interfaces().follow(&all, deleted, awaits_tables);
            readdressed
        });
        self.reloading.send_replace(None);
        changed
    }

    /// Waits until an interface that could not be served is to be tried again.
    pub(crate) async fn retry_is_due(&self) {
        loop {
            let due = self.interfaces().retry_due();
            let retry = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = retry => return,
                () = self.failures_changed.notified() => {}
            }
        }
    }

    /// Stops all datapaths, in the kernel too.
    pub(crate) fn stop(&self) {
        self.interfaces().stop();
    }

    /// The line that says that requests are answered from now on.
    pub(crate) fn ready_line(&self) -> String {
        let mut interfaces = self.interfaces().describe();
        if interfaces.is_empty() {
            interfaces.push("no interface yet".to_owned());
        }
        format!(
            "ready: {}; {}",
            interfaces.join(", "),
            count(self.catalogue().table.nodes().len(), "node")
        )
    }

    /// Passes what the XDP programs have logged on to the daemon's log.
    pub(crate) fn forward_logs(&self) {
        self.interfaces().forward_logs();
    }

    /// What is served, in a line.
    pub(crate) fn summary(&self) -> String {
        let (nodes, generation) = {
            let catalogue = self.catalogue();
            let generation = self.shared.tables.load().number;
            (catalogue.table.nodes().len(), generation)
        };
        let interfaces = self.interfaces().describe().join(", ");
        format!(
            "{}, generation {generation}; {interfaces}",
            count(nodes, "node")
        )
    }

    /// Since when the files are being read again, if they are, and when other tables are in service.
    pub(crate) fn reloading(&self) -> watch::Receiver<Option<Instant>> {
        self.reloading.subscribe()
    }

    /// The packet threads that have not shown that they live since this was last called.
    pub(crate) fn silent_threads(&self) -> Vec<String> {
        self.interfaces().silent_threads()
    }

    /// Has the log tell each new or changed node's files, if that is asked for.
    fn announce(&self, old: &Table, new: &Table) {
        if self.settings.announces {
            announce(old, new, &self.settings.policy.loaders);
        }
    }

    fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        // Each change is complete before anything that could panic.
        self.catalogue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn interfaces(&self) -> MutexGuard<'_, Interfaces> {
        // Each change is complete before anything that could panic.
        self.interfaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
