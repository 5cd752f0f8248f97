//! The running service: the catalogue of what is served, the interfaces that serve it, and the
//! three ways new tables reach them: [`Service::reload`], [`Service::refresh`] and
//! [`Service::readdress`].

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::task;
use tracing::error;

use crate::api::control::Allowed;
use crate::api::status::{NamesTold, Status};
use crate::daemon::Settings;
use crate::daemon::port::PortHolders;
use crate::daemon::tftp::{Port, Tftp};
use crate::daemon::watch::Watching;
use crate::datapath::Shared;
use crate::datapath::activity::Activity;
use crate::datapath::unknown_clients::UnknownClients;
use crate::names::forward::Names;
use crate::names::hosts;
use crate::names::reverse::{LookedUp, LookupStatus};
use crate::names::saved;
use crate::sys::clock;
use crate::sys::heap;
use crate::sys::interface::{self, Interface};
use crate::tables::explain::{Looked, Question, explain};
use crate::tables::table::Table;
use crate::text::{Few, count};
use crate::winpe::architecture::Architecture;
use crate::winpe::path::Rules;

mod activity;
mod announce;
mod catalogue;
mod confused;
mod effective_policy;
mod events;
mod failure;
mod install;
mod interfaces;
mod leftovers;
mod moments;
mod reload;

pub(crate) use install::Asked;
pub(crate) use reload::Outcome;

use activity::{FetchedFiles, KnownAddresses};
use announce::announce;
use catalogue::Catalogue;
use events::Events;
use interfaces::Interfaces;
use moments::Start;

/// The service. Dropping it stops all datapaths.
///
/// Lock order: the interfaces, then the catalogue.
pub(crate) struct Service {
    settings: Settings,
    /// The watch over the files, whose trouble the status shows.
    watching: Option<Watching>,
    port_holders: PortHolders,
    started: Instant,
    /// The same, in seconds since 1970.
    started_at: f64,
    /// What all packet threads share.
    shared: Arc<Shared>,
    catalogue: Mutex<Catalogue>,
    interfaces: Mutex<Interfaces>,
    /// Held while tables are made and installed, one set at a time.
    installing: tokio::sync::Mutex<()>,
    /// The reloads that are requested and have not begun, keyed by what they may take out of service.
    waiting: Mutex<HashMap<Allowed, reload::Awaited>>,
    /// When the running reload began, if one is running.
    reloading: watch::Sender<Option<Instant>>,
    /// Notified when names should be asked for.
    pub(crate) reloaded: Notify,
    /// Notified when there may be answers of the resolver to save.
    pub(crate) answered: Notify,
    /// The TFTP server, or why there is none although there should be.
    tftp: OnceLock<Result<Tftp, String>>,
    /// Notified when the times to retry interfaces or tables have changed.
    failures_changed: Notify,
    known_addresses: KnownAddresses,
    start: Start,
    fetched: Arc<FetchedFiles>,
    events: Events,
}

impl Service {
    /// Starts to serve some of `all` interfaces. If a file is rejected, the service starts without
    /// nodes all the same; the file is reloaded once it is corrected.
    ///
    /// # Errors
    ///
    /// If another daemon runs in this network namespace, or a datapath cannot be opened.
    pub(crate) async fn start(
        settings: Settings,
        watching: Option<Watching>,
        unknown_clients: Option<UnknownClients>,
        port_holders: PortHolders,
        all: &[Interface],
    ) -> Result<Self> {
        let (started, started_at) = (Instant::now(), clock::since_1970());
        // Take the pins first: a previous daemon may be ending, and what is read afterwards is
        // newer.
        let pins = leftovers::take_pins(&settings).await?;
        // Before the files are read, which may take its time.
        let renewal = leftovers::renew(&settings, pins.as_ref())?;
        let answers_nodes = || leftovers::answer_nodes(&settings, pins.as_ref(), all);
        let mut activity = Activity::default();
        let follow = |table: &Table| {
            let pins = pins.as_ref().filter(|_| settings.pins);
            activity = Activity::open(pins, &settings.socket, table.len());
            activity.follow(table)
        };
        let (catalogue, generation) =
            Catalogue::begin(&settings, answers_nodes, follow, all).await?;
        let shared = Arc::new(Shared {
            tables: ArcSwap::from_pointee(generation),
            unknown_clients,
            offers: settings.offers,
            activity,
            ..Shared::default()
        });
        let service = Self {
            interfaces: Mutex::new(Interfaces::new(
                &settings,
                Arc::clone(&shared),
                pins,
                renewal,
            )),
            catalogue: Mutex::new(catalogue),
            settings,
            watching,
            port_holders,
            started,
            started_at,
            shared,
            installing: tokio::sync::Mutex::new(()),
            waiting: Mutex::default(),
            reloading: watch::Sender::new(None),
            reloaded: Notify::new(),
            answered: Notify::new(),
            tftp: OnceLock::new(),
            failures_changed: Notify::new(),
            known_addresses: KnownAddresses::default(),
            start: Start::default(),
            fetched: Arc::default(),
            events: Events::default(),
        };
        let awaits_tables = service.catalogue().awaits_tables;
        service.interfaces().start(all, awaits_tables)?;
        let table = Arc::clone(&service.catalogue().table);
        service.announce(&Table::empty(), &table);
        heap::give_back();
        Ok(service)
    }

    /// Serves the files below the TFTP root to clients on the interfaces in service. If that cannot be
    /// done, the log and the status say why.
    pub(crate) fn serve_files(&self, port: Result<Port>) {
        let reached = Arc::clone(&self.interfaces().reached);
        let mtu = move |interface: u32| reached.load().get(&interface).copied();
        let root = &self.settings.sources.tftp_root;
        let (shared, fetched) = (Arc::clone(&self.shared), Arc::clone(&self.fetched));
        let note = move |client, file: &Arc<str>, state, bytes| {
            fetched.note(&shared, client, file, state, bytes);
        };
        let tftp = port.and_then(|port| Tftp::start(port, root, Box::new(mtu), Box::new(note)));
        let tftp = tftp.map_err(|error| format!("{error:#}"));
        if let Err(error) = &tftp {
            error!("no files are served by TFTP: {error}");
        }
        let _ = self.tftp.set(tftp);
    }

    /// Gives `work` access to the resolver's answers.
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
    /// If the file cannot be written. It is then unchanged.
    pub(crate) async fn save_answers(&self) -> Result<()> {
        let names = {
            let catalogue = self.catalogue();
            if catalogue.awaits_tables {
                // The answers in the file have not been loaded yet.
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

    /// The status, with the problems that `of` finds. Finding them may take long in large tables,
    /// and happens outside the locks.
    pub(crate) fn status<P>(
        &self,
        of: impl FnOnce(&Table, &Names, Option<String>) -> P,
    ) -> Status<P> {
        let catalogue = self.catalogue();
        let is_looked_up = catalogue.configured.policy.unknown.is_looked_up();
        let unknown_clients = self
            .shared
            .unknown_clients
            .as_ref()
            .filter(|_| is_looked_up);
        let (table, names) = (Arc::clone(&catalogue.table), Arc::clone(&catalogue.names));
        let looked_up = Arc::clone(&catalogue.looked_up);
        let lookups = unknown_clients
            .map(|clients| LookupStatus::new(&catalogue.looked_up, clients.dropped()));
        let waited_for = waited_for(&catalogue);
        let rejected = catalogue.rejected.clone();
        let uninstalled = catalogue.uninstalled.as_ref().map(|it| it.why.clone());
        let reloads = catalogue.reloads;
        let generation = self.shared.tables.load().number;
        drop(catalogue);
        let (served, unserved) = {
            let interfaces = self.interfaces();
            (interfaces.status(), interfaces.unserved())
        };
        let trouble = self.watching.as_ref().and_then(Watching::trouble);
        let reloading = *self.reloading.borrow();
        let tftp = self.tftp.get();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs_f64(),
            started: self.started_at,
            generation,
            nodes: table.served(),
            records: table.records(),
            config: self.settings.sources.config.clone(),
            reloads,
            reloading: reloading.map(|since| since.elapsed().as_secs_f64()),
            rejected,
            uninstalled,
            problems: of(&table, &names, trouble),
            waited_for,
            lookups,
            confused: confused::clients(&self.shared, &table, &names, &looked_up),
            tftp: tftp.and_then(|tftp| Some(tftp.as_ref().ok()?.status())),
            tftp_fault: tftp.and_then(|tftp| tftp.as_ref().err().cloned()),
            source: self.settings.fleet.as_ref().map(|fleet| fleet.status()),
            interfaces: served,
            unserved,
            port_holders: self.port_holders.borrow().clone(),
        }
    }

    /// The rules for WinPE paths.
    pub(crate) fn rules(&self) -> Rules<'_> {
        self.settings.sources.rules()
    }

    /// Why no request can be answered, if none can.
    pub(crate) fn lacks(&self) -> Vec<String> {
        let (awaits_tables, rejected) = {
            let catalogue = self.catalogue();
            (catalogue.awaits_tables, catalogue.rejected.clone())
        };
        let mut lacks = Vec::new();
        if awaits_tables {
            let why = rejected.unwrap_or_default();
            lacks.push(format!("no files are in service: {why}"));
        }
        let interfaces = self.interfaces();
        if interfaces.served.is_empty() {
            lacks.push("no interface is served".to_owned());
            lacks.extend(interfaces.unserved().iter().map(ToString::to_string));
        }
        lacks
    }

    /// This host's own addresses.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        self.catalogue().local.clone()
    }

    /// What a client gets from the tables in service, and why. This reads the hosts file, which may
    /// be long or on a slow disk, outside the locks.
    pub(crate) fn look_up(&self, client: &str, arch: Architecture) -> Vec<Looked> {
        let hosts = hosts::read(&self.settings.sources.hosts);
        let catalogue = self.catalogue();
        let generation = self.shared.tables.load_full();
        let (table, names) = (Arc::clone(&catalogue.table), Arc::clone(&catalogue.names));
        let looked_up = Arc::clone(&catalogue.looked_up);
        let configured = Arc::clone(&catalogue.configured);
        let waited_for = waited_for(&catalogue);
        let policy = match waited_for {
            0 => catalogue.policy.clone(),
            // A temporary policy is explained elsewhere in the reply; show the configured one.
            _ => configured.policy.clone(),
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
            sources: &configured.sources,
            hosts: &hosts,
            local: &local,
            rejected: rejected.as_deref(),
            waited_for,
            offers: self.settings.offers,
        })
    }

    /// The nodes in service that have this WinPE.
    pub(crate) fn users(&self, winpe: &str) -> Few<String> {
        let table = Arc::clone(&self.catalogue().table);
        table.users(winpe)
    }

    /// The names with problems.
    pub(crate) fn names_told(&self) -> NamesTold {
        let (table, names) = {
            let catalogue = self.catalogue();
            (Arc::clone(&catalogue.table), Arc::clone(&catalogue.names))
        };
        task::block_in_place(|| NamesTold::new(&table, &names))
    }

    /// Looks at the interfaces again: serves those that have come, lets go of those that have gone,
    /// and answers on the addresses that this host has now. Interfaces that were `deleted` are new
    /// ones now, even if they look alike.
    ///
    /// # Errors
    ///
    /// If the interfaces cannot be listed.
    pub(crate) async fn interfaces_changed(&self, deleted: &[u32]) -> Result<()> {
        let _one_at_a_time = self.installing.lock().await;
        let all = interface::list().await?;
        task::block_in_place(|| {
            self.readdress(interface::local_addresses(&all));
            let awaits_tables = self.catalogue().awaits_tables;
            self.interfaces().follow(&all, deleted, awaits_tables);
        });
        self.reloading.send_replace(None);
        Ok(())
    }

    /// Waits until an interface that could not be served, or tables that could not be installed, are
    /// due to be tried again.
    pub(crate) async fn retry_is_due(&self) {
        loop {
            let due = {
                let interfaces = self.interfaces().retry_due();
                let tables = self
                    .catalogue()
                    .uninstalled
                    .as_ref()
                    .map(|it| it.retry.due());
                interfaces.into_iter().chain(tables).min()
            };
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
        self.shared.activity.save();
    }

    /// The line that says that requests are answered from now on.
    pub(crate) fn ready_line(&self) -> String {
        let (mut interfaces, missing) = {
            let interfaces = self.interfaces();
            let missing: Vec<_> = interfaces.missing().collect();
            (interfaces.describe(), missing.join(", "))
        };
        if interfaces.is_empty() {
            interfaces.push("no interface yet".to_owned());
        }
        if !missing.is_empty() {
            interfaces.push(format!("waiting for {missing}"));
        }
        format!(
            "ready: {}; {}",
            interfaces.join(", "),
            count(self.catalogue().table.served(), "node")
        )
    }

    /// Passes what the XDP programs have logged on to the daemon's log.
    pub(crate) fn forward_logs(&self) {
        self.interfaces().forward_logs();
    }

    /// A one-line description of what is served.
    pub(crate) fn summary(&self) -> String {
        let (nodes, generation) = {
            let catalogue = self.catalogue();
            let generation = self.shared.tables.load().number;
            (catalogue.table.served(), generation)
        };
        let interfaces = self.interfaces().describe().join(", ");
        format!(
            "{}, generation {generation}; {interfaces}",
            count(nodes, "node")
        )
    }

    /// Reports when the running reload began, if one is running, and when other tables enter
    /// service.
    pub(crate) fn reloading(&self) -> watch::Receiver<Option<Instant>> {
        self.reloading.subscribe()
    }

    /// The packet threads that have shown no sign of life since the last call.
    pub(crate) fn silent_threads(&self) -> Vec<String> {
        self.interfaces().silent_threads()
    }

    /// Logs each new or changed node's files, if that is asked for.
    fn announce(&self, old: &Table, new: &Table) {
        if self.settings.announces {
            let loaders = self.catalogue().policy.loaders.clone();
            announce(old, new, &loaders);
        }
    }

    fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        // A panic cannot leave a half-made change, so a poisoned lock is still sound.
        self.catalogue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn interfaces(&self) -> MutexGuard<'_, Interfaces> {
        // A panic cannot leave a half-made change, so a poisoned lock is still sound.
        self.interfaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of names that clients without a record wait for.
fn waited_for(catalogue: &Catalogue) -> usize {
    let configured = &catalogue.configured.policy;
    effective_policy::waited_for(configured, &catalogue.policy, &catalogue.names)
}
