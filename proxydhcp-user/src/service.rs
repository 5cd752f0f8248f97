//! The running service: its tables, its datapaths, and the reload that brings new tables to them.

use std::mem;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use arc_swap::ArcSwap;
use aya_log::EbpfLogger;
use log::Log;
use tokio::sync::Notify;
use tokio::task;
use tracing::{error, info, warn};

use crate::generation::{Generation, Policy, Unknown};
use crate::interface::{self, Interface};
use crate::memory;
use crate::names::Names;
use crate::program::KernelTables;
use crate::served::{self, Path, Served};
use crate::status::{NamesStatus, Reloaded, Status, Took};
use crate::strangers::{LookedUp, LookupStatus};
use crate::table::{Files, Sources, Table, changes};
use crate::upkeep;

/// What is to be served, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The files.
    pub sources: Sources,
    /// What clients are told.
    pub policy: Policy,
    /// Who answers.
    pub path: Path,
}

/// The service. Dropping it stops all datapaths.
pub struct Service {
    settings: Settings,
    started: Instant,
    tables: Arc<ArcSwap<Generation>>,
    state: Mutex<State>,
    /// Held while tables are made and installed: one at a time.
    installing: tokio::sync::Mutex<()>,
    /// Tells the upkeep that names are to be asked for.
    pub(crate) reloaded: Notify,
}

struct State {
    served: Vec<Served>,
    table: Arc<Table>,
    /// What the resolver has said of names that the hosts file lacks.
    names: Names,
    /// What it has said of clients without a record.
    looked_up: LookedUp,
    /// This host's own addresses.
    local: Vec<Ipv4Addr>,
    /// The tables in the kernel, to fall back on.
    kernel_tables: Option<KernelTables>,
    rejected: Option<String>,
    /// No node need be served: so it was said.
    allow_empty: bool,
}

/// How long a part of a reload took.
#[derive(Clone, Copy, Default)]
struct Filling {
    fill: Duration,
    swap: Duration,
}

impl Service {
    /// Starts to serve `interfaces`. A file that is rejected does not keep the service from
    /// starting, with no nodes: it is reloaded when the file is mended.
    ///
    /// # Errors
    ///
    /// A datapath cannot be opened.
    pub async fn start(
        settings: Settings,
        all: &[Interface],
        served: &[Interface],
    ) -> Result<Self> {
        let (files, rejected) = match read(&settings.sources).await {
            Ok(files) => (files, None),
            Err(error) => {
                error!("no node is served until this is mended and reloaded: {error}");
                (Files::none(), Some(error.to_string()))
            }
        };
        let names = Names::default().of(files.wanted());
        let mut table = Table::of_files(Arc::new(files));
        let local = interface::local_addresses(all);
        table.warn_of_own(&local);
        report(&table, &names);
        // Who is unknown cannot be told before a table was read: nobody is sent to the default.
        let policy = match rejected {
            None => &settings.policy,
            Some(_) => &Policy {
                unknown: Unknown::Ignore,
                ..settings.policy
            },
        };
        let generation = Generation::next(&Generation::default(), &table, &local, policy)?;
        let kernel_tables = match (&settings.path, KernelTables::new(&generation)) {
            (Path::Raw, _) => None,
            (_, Ok(tables)) => Some(tables),
            (Path::Xdp(wish), Err(error)) if wish.or_raw => {
                warn!("serving by raw: {error:#}");
                None
            }
            (_, Err(error)) => return Err(error),
        };
        let tables = Arc::new(ArcSwap::from_pointee(generation));
        let mut in_service = Vec::new();
        for interface in served {
            let program = match (&settings.path, &kernel_tables) {
                (Path::Xdp(wish), Some(tables)) => Some((wish, tables)),
                _ => None,
            };
            in_service.push(Served::start(interface, program, &tables)?);
        }
        memory::give_back();
        Ok(Self {
            settings,
            started: Instant::now(),
            tables,
            state: Mutex::new(State {
                served: in_service,
                table: Arc::new(table),
                names,
                looked_up: LookedUp::default(),
                local,
                kernel_tables,
                rejected,
                allow_empty: false,
            }),
            installing: tokio::sync::Mutex::new(()),
            reloaded: Notify::new(),
        })
    }

    /// Reads the files again and puts them into service, in one step. Names that the hosts file
    /// lacks have the addresses that the resolver gave before, and are asked for afterwards.
    ///
    /// # Errors
    ///
    /// The file is rejected; what was in service stays.
    pub async fn reload(&self, allow_empty: bool) -> Result<Reloaded> {
        let _one_at_a_time = self.installing.lock().await;
        let result = self.reload_now(allow_empty).await;
        match &result {
            Ok(reloaded) => info!(
                generation = reloaded.generation,
                nodes = reloaded.nodes,
                refused = reloaded.refused.len(),
                unresolved = reloaded.names.unresolved.len(),
                "reloaded in {:.1} ms",
                reloaded.took.total
            ),
            Err(error) => error!("not reloaded, the tables in service stay: {error:#}"),
        }
        self.lock().rejected = result.as_ref().err().map(|error| format!("{error:#}"));
        self.reloaded.notify_one();
        result
    }

    async fn reload_now(&self, allow_empty: bool) -> Result<Reloaded> {
        let started = Instant::now();
        let files = Arc::new(read(&self.settings.sources).await?);
        let (old, mut names) = {
            let mut state = self.lock();
            state.looked_up.forget_nameless();
            (Arc::clone(&state.table), state.names.of(files.wanted()))
        };
        let mut table = self.table(files, &names);
        let read = started.elapsed();
        let empties = |table: &Table| is_empty(table) && !is_empty(&old) && !allow_empty;
        if empties(&table) {
            // Rather late than without any node that was in service.
            upkeep::ask_for_all(&mut names).await;
            table = self.table(Arc::clone(table.files()), &names);
        }
        let resolve = started.elapsed().saturating_sub(read);
        if empties(&table) {
            bail!(self.why_empty(&table));
        }
        let local = interface::local_addresses(&interface::list().await?);
        table.warn_of_own(&local);
        report(&table, &names);
        let changes = changes(&old, &table);
        let table = Arc::new(table);
        let Filling { fill, swap } = self.install(Arc::clone(&table), &local)?;

        let mut state = self.lock();
        state.names = names;
        state.local = local;
        state.allow_empty = allow_empty;
        let names = NamesStatus::new(&table, &state.names);
        drop(state);
        drop(old);
        memory::give_back();
        Ok(Reloaded {
            generation: self.tables.load().number,
            nodes: table.nodes().len(),
            changes,
            refused: table.refused().to_vec(),
            names,
            warnings: table.warnings().to_vec(),
            took: Took {
                total: milliseconds(started.elapsed()),
                read: milliseconds(read),
                resolve: milliseconds(resolve),
                fill: milliseconds(fill),
                swap: milliseconds(swap),
            },
        })
    }

    /// Puts into service what the resolver has said since, with the files as they were last read.
    ///
    /// # Errors
    ///
    /// No node would be served any more; the tables cannot be installed. What was in service stays.
    pub(crate) async fn rejoin(&self) -> Result<()> {
        let _one_at_a_time = self.installing.lock().await;
        let result = self.rejoin_now();
        if let Err(error) = &result {
            error!("the tables in service stay: {error:#}");
            self.lock().rejected = Some(format!("{error:#}"));
        }
        result
    }

    fn rejoin_now(&self) -> Result<()> {
        let (old, names, local, allow_empty) = {
            let state = self.lock();
            let (table, names) = (Arc::clone(&state.table), state.names.clone());
            (table, names, state.local.clone(), state.allow_empty)
        };
        let mut table = self.table(Arc::clone(old.files()), &names);
        if is_empty(&table) && !is_empty(&old) && !allow_empty {
            bail!(self.why_empty(&table));
        }
        table.warn_of_own(&local);
        let nodes = table.nodes().len();
        self.install(Arc::new(table), &local)?;
        memory::give_back();
        info!(
            generation = self.tables.load().number,
            nodes, "the resolver's answers are in service"
        );
        Ok(())
    }

    fn table(&self, files: Arc<Files>, names: &Names) -> Table {
        task::block_in_place(|| Table::new(files, names, &self.lock().looked_up))
    }

    fn why_empty(&self, table: &Table) -> String {
        let Sources { config, hosts, .. } = &self.settings.sources;
        let config = config.display();
        let fault = match table.records() {
            0 => format!("{config} has no records, as if its writer had just begun"),
            records => format!(
                "not one of the {records} records of {config} has an address; check {}",
                hosts.display()
            ),
        };
        format!(
            "{fault}; if no node is to be served any more, say so by \
             `proxydhcp reload --allow-empty`"
        )
    }

    /// Copying tables and swapping maps blocks for some milliseconds.
    fn install(&self, table: Arc<Table>, local: &[Ipv4Addr]) -> Result<Filling> {
        task::block_in_place(|| {
            let filling = Instant::now();
            let policy = &self.settings.policy;
            let generation = Generation::next(&self.tables.load(), &table, local, policy)?;
            let in_kernel = self.lock().served.iter().any(Served::has_program);
            let kernel_tables = in_kernel
                .then(|| KernelTables::new(&generation))
                .transpose()?;
            let swapping = Instant::now();
            let mut state = self.lock();
            if let Some(tables) = &kernel_tables {
                let State {
                    served,
                    kernel_tables: before,
                    ..
                } = &mut *state;
                served::install(served, tables, before.as_ref())?;
            }
            self.tables.store(Arc::new(generation));
            state.kernel_tables = kernel_tables;
            state.table = table;
            Ok(Filling {
                fill: swapping - filling,
                swap: swapping.elapsed(),
            })
        })
    }

    /// Works on what the resolver has said.
    pub(crate) fn with_names<T>(&self, work: impl FnOnce(&mut Names, &mut LookedUp) -> T) -> T {
        let State {
            names, looked_up, ..
        } = &mut *self.lock();
        work(names, looked_up)
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        let state = self.lock();
        let table = &state.table;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs_f64(),
            generation: self.tables.load().number,
            nodes: table.nodes().len(),
            records: table.records(),
            config: self.settings.sources.config.clone(),
            rejected: state.rejected.clone(),
            refused: table.refused().to_vec(),
            names: NamesStatus::new(table, &state.names),
            lookups: match &self.settings.policy.unknown {
                Unknown::Lookup(strangers) => Some(LookupStatus::new(strangers, &state.looked_up)),
                Unknown::Ignore | Unknown::Default => None,
            },
            warnings: table.warnings().to_vec(),
            interfaces: state.served.iter().map(Served::status).collect(),
        }
    }

    /// Stops all datapaths, all at once: the kernel takes its time to let go of each.
    pub fn stop(&self) {
        let served = mem::take(&mut self.lock().served);
        thread::scope(|scope| {
            for one in served {
                scope.spawn(move || drop(one));
            }
        });
    }

    /// The line that says that requests are answered from now on.
    pub fn ready_line(&self) -> String {
        let state = self.lock();
        let interfaces: Vec<_> = state.served.iter().map(Served::describe).collect();
        format!(
            "ready: {}; {} nodes",
            interfaces.join(", "),
            state.table.nodes().len()
        )
    }

    /// The logs of the XDP programs, once.
    pub fn take_logs(&self) -> Vec<EbpfLogger<&'static dyn Log>> {
        let mut state = self.lock();
        state
            .served
            .iter_mut()
            .filter_map(Served::take_log)
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Each change of the state is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the files, which blocks, on a thread where it may.
async fn read(sources: &Sources) -> Result<Files> {
    let sources = sources.clone();
    Ok(task::spawn_blocking(move || Files::read(&sources)).await??)
}

fn is_empty(table: &Table) -> bool {
    table.nodes().len() == 0
}

/// Tells the log what of the files is not in service.
fn report(table: &Table, names: &Names) {
    const SHOWN: usize = 20;
    for record in table.refused().iter().take(SHOWN) {
        warn!(
            "record {} ({}) is refused: {}",
            record.number, record.name, record.reason
        );
    }
    for warning in table.warnings().iter().take(SHOWN) {
        warn!("{warning}");
    }
    let asked = names.asked();
    if !asked.is_empty() {
        info!(
            "the hosts file lacks {} names, {} among them; asking the system resolver",
            asked.len(),
            asked.get(..SHOWN).unwrap_or(&asked).join(", ")
        );
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
