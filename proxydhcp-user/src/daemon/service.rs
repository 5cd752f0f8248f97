//! The running service: its tables, its datapaths, and the reload that brings new tables to them.

use std::collections::HashMap;
use std::mem;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::task;
use tracing::error;

use crate::api::status::{NamesTold, Status, Unserved};
use crate::daemon::refresh;
use crate::daemon::service::announce::announce;
use crate::daemon::watch::Watching;
use crate::datapath::buckets::Limits;
use crate::datapath::served_interface::{self, DatapathPlan, Served};
use crate::datapath::xdp::KernelTables;
use crate::datapath::xdp::pins::Pins;
use crate::names::forward::Names;
use crate::names::hosts;
use crate::names::reverse::{LookedUp, LookupStatus};
use crate::names::saved;
use crate::sys::heap;
use crate::sys::interface::{self, Interface};
use crate::tables::explain::{Looked, Question, explain};
use crate::tables::generation::{Generation, Policy, Unknown};
use crate::tables::table::{Files, Sources, Table};
use crate::winpe::architecture::Architecture;

mod announce;
mod effective_policy;
mod failure;
mod interfaces;
mod leftovers;
mod reload;

pub(crate) use reload::Done;

use failure::Failure;
use reload::{is_empty, read, report, why_empty};

/// What is to be served, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The files.
    pub sources: Sources,
    /// The file of the resolver's last answers.
    pub resolved: PathBuf,
    /// What clients are told.
    pub policy: Policy,
    /// The names of the interfaces to serve; none: all that are up with an IPv4 address.
    pub interfaces: Vec<String>,
    /// Who answers.
    pub path: DatapathPlan,
    /// If this process is killed, the kernel goes on answering.
    pub pins: bool,
    /// At the start, a missing `proxydhcp.cfg` is one without records.
    pub may_lack_config: bool,
    /// The log tells each new or changed node's files.
    pub announces: bool,
    /// Who watches the files, and may have trouble with it.
    pub watching: Option<Watching>,
}

/// The service. Dropping it stops all datapaths.
pub struct Service {
    settings: Settings,
    started: Instant,
    tables: Arc<ArcSwap<Generation>>,
    /// The buckets of the packet threads.
    limits: Arc<Limits>,
    state: Mutex<State>,
    /// Held while tables are made and installed: one at a time.
    installing: tokio::sync::Mutex<()>,
    /// The reloads that have been asked for and have not begun, by what they may empty.
    waiting: Mutex<HashMap<bool, reload::Shared>>,
    /// Since when the files are being read again, if they are.
    reloading: watch::Sender<Option<Instant>>,
    /// Tells the upkeep that names are to be asked for.
    pub(crate) reloaded: Notify,
    /// Interfaces that could not be served are to be tried again at other times.
    failures_changed: Notify,
    /// Tells the upkeep that there may be answers to keep.
    pub(crate) answered: Notify,
}

struct State {
    served: Vec<Served>,
    /// The interfaces that are to be served, and are not there.
    missing: Vec<Unserved>,
    /// Those that are there, and could not be served.
    failures: Vec<Failure>,
    /// The files have not passed yet: what daemons that were killed have left goes on answering.
    awaits_tables: bool,
    /// What clients are told by the tables in service.
    policy: Policy,
    /// Where programs are pinned, if that is possible and asked for, or something is left.
    pins: Option<Pins>,
    table: Arc<Table>,
    /// What the resolver has said of names that the hosts file lacks.
    names: Arc<Names>,
    /// What it has said of clients without a record.
    looked_up: Arc<LookedUp>,
    /// This host's own addresses.
    local: Vec<Ipv4Addr>,
    /// The tables in the kernel, to fall back on.
    kernel_tables: Option<KernelTables>,
    rejected: Option<String>,
    /// No node need be served: so it was said.
    allow_empty: bool,
}

impl State {
    fn unserved(&self) -> Vec<Unserved> {
        let failed = self.failures.iter().map(|failure| &failure.unserved);
        self.missing.iter().chain(failed).cloned().collect()
    }
}

impl Service {
    /// Starts to serve interfaces out of `all` that there are. A file that is rejected does not keep
    /// the service from starting, with no nodes: it is reloaded when the file is mended.
    ///
    /// # Errors
    ///
    /// A datapath cannot be opened.
    pub async fn start(settings: Settings, all: &[Interface]) -> Result<Self> {
        // A daemon before may be ending: what is read afterwards is newer.
        let pins = leftovers::take_pins(&settings).await;
        let (files, mut rejected) = match read(&settings.sources).await {
            Ok(files) => (files, None),
            Err(error) if settings.may_lack_config && error.is_missing() => {
                (Files::not_there_yet(&settings.sources.config), None)
            }
            Err(error) => {
                error!("no node is served until this is mended and reloaded: {error}");
                (Files::none(), Some(error.to_string()))
            }
        };
        let mut names = Names::default().of(files.wanted(), Instant::now());
        task::block_in_place(|| saved::restore(&settings.resolved, &mut names));
        let mut table = Table::new(Arc::new(files), &names, &LookedUp::default());
        let answers_nodes = || leftovers::answer_nodes(&settings, pins.as_ref(), all);
        if rejected.is_none() && is_empty(&table) && answers_nodes()? {
            // As at a reload: what is in service is not given up for this.
            refresh::ask_for_all(&mut names).await;
            table = Table::new(Arc::clone(table.files()), &names, &LookedUp::default());
            if is_empty(&table) {
                let why = why_empty(&settings.sources, &table);
                error!("{why}");
                rejected = Some(why);
            }
        }
        let local = interface::local_addresses(all);
        table.warn_of_own(&local);
        report(&table, &names);
        let awaits_tables = rejected.is_some();
        let policy = effective_policy::of(&settings.policy, awaits_tables, &names);
        let generation = Generation::next(&Generation::default(), &table, &local, &policy)?;
        let service = Self {
            settings,
            started: Instant::now(),
            tables: Arc::new(ArcSwap::from_pointee(generation)),
            limits: Arc::default(),
            state: Mutex::new(State {
                served: Vec::new(),
                missing: Vec::new(),
                failures: Vec::new(),
                awaits_tables,
                policy,
                pins,
                table: Arc::new(table),
                names: Arc::new(names),
                looked_up: Arc::default(),
                local,
                kernel_tables: None,
                rejected,
                allow_empty: false,
            }),
            installing: tokio::sync::Mutex::new(()),
            waiting: Mutex::default(),
            reloading: watch::Sender::new(None),
            reloaded: Notify::new(),
            failures_changed: Notify::new(),
            answered: Notify::new(),
        };
        service.start_interfaces(all)?;
        if service.settings.announces {
            let table = Arc::clone(&service.lock().table);
            announce(&Table::empty(), &table, &service.settings.policy.loaders);
        }
        heap::give_back();
        Ok(service)
    }

    /// Works on what the resolver has said.
    pub(crate) fn with_names<T>(&self, work: impl FnOnce(&mut Names, &mut LookedUp) -> T) -> T {
        let State {
            names, looked_up, ..
        } = &mut *self.lock();
        work(Arc::make_mut(names), Arc::make_mut(looked_up))
    }

    /// Writes the resolver's answers to their file.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) async fn keep_answers(&self) -> Result<()> {
        let names = {
            let state = self.lock();
            if state.awaits_tables {
                // Those of the file are still to be taken up.
                return Ok(());
            }
            state.names.clone()
        };
        let path = self.settings.resolved.clone();
        task::spawn_blocking(move || {
            let written = saved::write(&path, &saved::text(&names));
            written.with_context(|| format!("cannot write {}", path.display()))
        })
        .await?
    }

    /// How things stand, with what is wrong as `of` finds it. That may take long where much is, and
    /// the service does not wait for it.
    pub fn status<P>(&self, of: impl FnOnce(&Table, &Names, Option<String>) -> P) -> Status<P> {
        let state = self.lock();
        let (table, names) = (Arc::clone(&state.table), Arc::clone(&state.names));
        let lookups = match &self.settings.policy.unknown {
            Unknown::Lookup(strangers) => Some(LookupStatus::new(strangers, &state.looked_up)),
            Unknown::Ignore | Unknown::Default => None,
        };
        let waited_for = state.waited_for(&self.settings.policy);
        let rejected = state.rejected.clone();
        let interfaces = state.served.iter().map(Served::status).collect();
        let unserved = state.unserved();
        let generation = self.tables.load().number;
        drop(state);
        let trouble = self.settings.watching.as_ref().and_then(Watching::trouble);
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
            interfaces,
            unserved,
        }
    }

    /// What a client gets, and why, by the tables in service. This reads the hosts file, which may
    /// be long, or on a slow disk, and the service does not wait for it.
    pub fn look_up(&self, client: &str, arch: Architecture) -> Vec<Looked> {
        let hosts = hosts::read(&self.settings.sources.hosts);
        let state = self.lock();
        let generation = self.tables.load_full();
        let (table, names) = (Arc::clone(&state.table), Arc::clone(&state.names));
        let looked_up = Arc::clone(&state.looked_up);
        let waited_for = state.waited_for(&self.settings.policy);
        let policy = match waited_for {
            0 => state.policy.clone(),
            // What it will be is told along with that.
            _ => self.settings.policy.clone(),
        };
        let (local, rejected) = (state.local.clone(), state.rejected.clone());
        drop(state);
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
            let state = self.lock();
            (Arc::clone(&state.table), Arc::clone(&state.names))
        };
        task::block_in_place(|| NamesTold::new(&table, &names))
    }

    /// Stops all datapaths, in the kernel too.
    pub fn stop(&self) {
        let mut state = self.lock();
        let served = mem::take(&mut state.served);
        let all: Vec<_> = served.iter().map(|it| it.interface().clone()).collect();
        served_interface::stop(served);
        self.remove_leftovers(&mut state, &all);
        state.pins = None;
    }

    /// The line that says that requests are answered from now on.
    pub fn ready_line(&self) -> String {
        let state = self.lock();
        let mut interfaces: Vec<_> = state.served.iter().map(Served::describe).collect();
        if interfaces.is_empty() {
            interfaces.push("no interface yet".to_owned());
        }
        format!(
            "ready: {}; {} nodes",
            interfaces.join(", "),
            state.table.nodes().len()
        )
    }

    /// Passes what the XDP programs have logged on to the daemon's log.
    pub fn forward_logs(&self) {
        self.lock().served.iter_mut().for_each(Served::forward_log);
    }

    /// What is served, in a line.
    pub(crate) fn summary(&self) -> String {
        let state = self.lock();
        let interfaces: Vec<_> = state.served.iter().map(Served::describe).collect();
        format!(
            "{} nodes, generation {}; {}",
            state.table.nodes().len(),
            self.tables.load().number,
            interfaces.join(", ")
        )
    }

    /// Since when the files are being read again, if they are, and when other tables are in service.
    pub(crate) fn reloading(&self) -> watch::Receiver<Option<Instant>> {
        self.reloading.subscribe()
    }

    /// The packet threads that have not shown that they live since this was last called.
    pub(crate) fn silent_threads(&self) -> Vec<String> {
        let state = self.lock();
        let threads = state.served.iter().flat_map(Served::threads);
        threads
            .filter(|thread| !thread.is_alive())
            .map(|thread| thread.name().to_owned())
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Each change of the state is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
