//! The running service: its tables, its datapaths, and the reload that brings new tables to them.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use arc_swap::ArcSwap;
use aya_log::EbpfLogger;
use log::Log;
use tracing::{error, info, warn};

use crate::announce::announce;
use crate::generation::{Generation, Policy};
use crate::interface::{self, Interface};
use crate::memory;
use crate::program::KernelTables;
use crate::served::{self, Path, Served};
use crate::status::{Reloaded, Status, Took};
use crate::table::{Sources, Table, Timing, changes};

/// What is to be served, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The files.
    pub sources: Sources,
    /// What clients are told.
    pub policy: Policy,
    /// Who answers.
    pub path: Path,
    /// At the start, a missing `proxydhcp.cfg` is one without records.
    pub may_lack_config: bool,
    /// The log tells each new or changed node's files.
    pub announces: bool,
}

/// The service. Dropping it stops all datapaths.
pub struct Service {
    settings: Settings,
    started: Instant,
    tables: Arc<ArcSwap<Generation>>,
    state: Mutex<State>,
    /// Held through a reload: one at a time.
    reloading: tokio::sync::Mutex<()>,
}

struct State {
    served: Vec<Served>,
    table: Arc<Table>,
    /// The tables in the kernel, to fall back on.
    kernel_tables: Option<KernelTables>,
    rejected: Option<String>,
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
        let (mut table, rejected) = match Table::load(&settings.sources).await {
            Ok((table, _)) => (table, None),
            Err(error) if settings.may_lack_config && error.is_missing() => {
                (Table::without_config(&settings.sources.config), None)
            }
            Err(error) => {
                error!("no node is served until this is mended and reloaded: {error}");
                (Table::empty(), Some(error.to_string()))
            }
        };
        let local = interface::local_addresses(all);
        table.warn_of_own(&local);
        report(&table);
        // Who is unknown cannot be told before a table was read: nobody is sent to the default.
        let policy = Policy {
            serve_unknown: settings.policy.serve_unknown && rejected.is_none(),
            ..settings.policy.clone()
        };
        let generation = Generation::next(&Generation::default(), &table, &local, &policy)?;
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
        if settings.announces {
            announce(&Table::empty(), &table);
        }
        memory::give_back();
        Ok(Self {
            settings,
            started: Instant::now(),
            tables,
            state: Mutex::new(State {
                served: in_service,
                table: Arc::new(table),
                kernel_tables,
                rejected,
            }),
            reloading: tokio::sync::Mutex::new(()),
        })
    }

    /// Reads the files again and puts them into service, in one step.
    ///
    /// # Errors
    ///
    /// The file is rejected; what was in service stays.
    pub async fn reload(&self, allow_empty: bool) -> Result<Reloaded> {
        let _one_at_a_time = self.reloading.lock().await;
        let result = self.reload_now(allow_empty).await;
        match &result {
            Ok(reloaded) => info!(
                generation = reloaded.generation,
                nodes = reloaded.nodes,
                refused = reloaded.refused.len(),
                unresolved = reloaded.unresolved.len(),
                "reloaded in {:.1} ms",
                reloaded.took.total
            ),
            Err(error) => error!("not reloaded, the tables in service stay: {error:#}"),
        }
        self.lock().rejected = result.as_ref().err().map(|error| format!("{error:#}"));
        result
    }

    async fn reload_now(&self, allow_empty: bool) -> Result<Reloaded> {
        let started = Instant::now();
        let (mut table, Timing { read, resolve }) = Table::load(&self.settings.sources).await?;
        let old = Arc::clone(&self.lock().table);
        if table.nodes().len() == 0 && old.nodes().len() > 0 && !allow_empty {
            let config = self.settings.sources.config.display();
            let fault = match table.records() {
                0 => format!("{config} has no records, as if its writer had just begun"),
                records => format!(
                    "not one of the {records} records of {config} has an address; check {}",
                    self.settings.sources.hosts.display()
                ),
            };
            bail!(
                "{fault}; if no node is to be served any more, say so by \
                 `proxydhcp reload --allow-empty`"
            );
        }
        let local = interface::local_addresses(&interface::list().await?);
        table.warn_of_own(&local);
        report(&table);
        // Copying tables and swapping maps blocks for some milliseconds.
        let reloaded = tokio::task::block_in_place(|| {
            self.install(table, &old, &local, started, read, resolve)
        });
        if self.settings.announces && reloaded.is_ok() {
            let new = Arc::clone(&self.lock().table);
            announce(&old, &new);
        }
        drop(old);
        memory::give_back();
        reloaded
    }

    fn install(
        &self,
        table: Table,
        old: &Table,
        local: &[std::net::Ipv4Addr],
        started: Instant,
        read: Duration,
        resolve: Duration,
    ) -> Result<Reloaded> {
        let filling = Instant::now();
        let generation =
            Generation::next(&self.tables.load(), &table, local, &self.settings.policy)?;
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
        let number = generation.number;
        self.tables.store(Arc::new(generation));
        let done = Instant::now();

        let reloaded = Reloaded {
            generation: number,
            nodes: table.nodes().len(),
            changes: changes(old, &table),
            refused: table.refused().to_vec(),
            unresolved: table.unresolved().map(str::to_owned).collect(),
            warnings: table.warnings().to_vec(),
            took: Took {
                total: milliseconds(done - started),
                read: milliseconds(read),
                resolve: milliseconds(resolve),
                fill: milliseconds(swapping - filling),
                swap: milliseconds(done - swapping),
            },
        };
        state.kernel_tables = kernel_tables;
        state.table = Arc::new(table);
        Ok(reloaded)
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
            unresolved: table.unresolved().map(str::to_owned).collect(),
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

/// Tells the log what of the files is not in service.
fn report(table: &Table) {
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
    let unresolved: Vec<_> = table.unresolved().take(SHOWN).collect();
    if !unresolved.is_empty() {
        warn!(
            "no address for {} names, {} among them; add them to the hosts file or the DNS",
            table.unresolved().len(),
            unresolved.join(", ")
        );
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
