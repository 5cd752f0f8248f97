//! The running service: its tables, its datapaths, and the reload that brings new tables to them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use aya_log::EbpfLogger;
use log::Log;
use tracing::{error, info, warn};

use crate::generation::{Generation, Policy};
use crate::interface::{self, Interface};
use crate::kernel::{KernelDatapath, KernelTables, Mode};
use crate::memory;
use crate::raw::RawDatapath;
use crate::status::{Counters, Datapath, InterfaceStatus, Reloaded, Status, Took};
use crate::table::{Sources, Table, Timing, changes};

/// What is to be served, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The files.
    pub sources: Sources,
    /// What clients are told.
    pub policy: Policy,
    /// The modes to try to attach the XDP program in; none for the raw datapath alone.
    pub modes: Modes,
}

/// How the XDP program is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modes {
    /// As it works best, or not at all.
    Auto,
    /// As it works best; it is an error if it does not.
    Any,
    /// In this mode; it is an error if it does not.
    Only(Mode),
    /// As well as this, or not at all.
    Prefer(Mode),
    /// Not at all.
    Never,
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

/// An interface in service.
struct Served {
    interface: Interface,
    /// First, so that it is detached before the ring behind it closes.
    kernel: Option<KernelDatapath>,
    raw: RawDatapath,
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
        let (table, rejected) = match Table::load(&settings.sources).await {
            Ok((table, _)) => (table, None),
            Err(error) => {
                error!("{error}; serving no node until the file is mended and reloaded");
                (Table::empty(), Some(error.to_string()))
            }
        };
        report(&table);
        let local = interface::local_addresses(all);
        let generation = Generation::next(&Generation::default(), &table, &local, settings.policy)?;
        let kernel_tables = match settings.modes {
            Modes::Never => None,
            _ => Some(KernelTables::new(&generation)),
        };
        let kernel_tables = match (settings.modes, kernel_tables.transpose()) {
            (_, Ok(tables)) => tables,
            (Modes::Auto | Modes::Prefer(_), Err(error)) => {
                warn!("serving by raw, for the kernel refuses the tables: {error:#}");
                None
            }
            (_, Err(error)) => return Err(error),
        };
        let tables = Arc::new(ArcSwap::from_pointee(generation));
        let mut state = State {
            served: Vec::new(),
            table: Arc::new(table),
            kernel_tables,
            rejected,
        };
        for interface in served {
            // The ring first: from the first frame on, somebody takes what XDP hands up.
            let raw = RawDatapath::start(interface, Arc::clone(&tables))?;
            let kernel = match &state.kernel_tables {
                Some(tables) => attach(settings.modes, interface, tables)?,
                None => None,
            };
            state.served.push(Served {
                interface: interface.clone(),
                kernel,
                raw,
            });
        }
        memory::give_back();
        Ok(Self {
            settings,
            started: Instant::now(),
            tables,
            state: Mutex::new(state),
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
        let (table, Timing { read, resolve }) = Table::load(&self.settings.sources).await?;
        let old = Arc::clone(&self.lock().table);
        if table.records() == 0 && old.records() > 0 && !allow_empty {
            bail!(
                "{} has no records, as if its writer had just begun; if no node is to be served \
                 any more, say so by `proxydhcp reload --allow-empty`",
                self.settings.sources.config.display()
            );
        }
        report(&table);
        let local = interface::local_addresses(&interface::list().await?);
        // Copying tables and swapping maps blocks for some milliseconds.
        let reloaded = tokio::task::block_in_place(|| {
            self.install(table, &old, &local, started, read, resolve)
        });
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
            Generation::next(&self.tables.load(), &table, local, self.settings.policy)?;
        let mut state = self.lock();
        let in_kernel = state.served.iter().any(|served| served.kernel.is_some());
        let kernel_tables = in_kernel
            .then(|| KernelTables::new(&generation))
            .transpose()?;
        let swapping = Instant::now();
        if let Some(tables) = &kernel_tables {
            state.install(tables)?;
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
        let kernels = state.served.iter_mut().filter_map(|s| s.kernel.as_mut());
        kernels.filter_map(KernelDatapath::take_log).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Each change of the state is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Installs the tables on all interfaces, or on none.
    fn install(&mut self, tables: &KernelTables) -> Result<()> {
        let mut kernels = self
            .served
            .iter_mut()
            .filter_map(|served| Some((&served.interface, served.kernel.as_mut()?)));
        let failure = kernels.find_map(|(interface, kernel)| {
            let error = kernel.install(tables).err()?;
            Some(error.context(format!("{}: cannot install the tables", interface.name)))
        });
        let Some(failure) = failure else {
            return Ok(());
        };
        if let Some(before) = &self.kernel_tables {
            for kernel in self.served.iter_mut().filter_map(|s| s.kernel.as_mut()) {
                kernel.install(before).context("cannot go back either")?;
            }
        }
        Err(failure)
    }
}

impl Served {
    fn describe(&self) -> String {
        match &self.kernel {
            Some(kernel) => format!("{} by kernel ({})", self.interface.name, kernel.mode()),
            None => format!("{} by raw", self.interface.name),
        }
    }

    fn status(&self) -> InterfaceStatus {
        let kernel = self.kernel.as_ref().map(|kernel| match kernel.counts() {
            Ok(counts) => Counters::new(&counts),
            Err(error) => {
                warn!(
                    "{}: cannot read the counters: {error:#}",
                    self.interface.name
                );
                Counters::default()
            }
        });
        let raw = Counters {
            unsent: self.raw.unsent(),
            lost: self.raw.lost(),
            ..Counters::new(&self.raw.counts())
        };
        InterfaceStatus {
            name: self.interface.name.clone(),
            datapath: match self.kernel {
                Some(_) => Datapath::Kernel,
                None => Datapath::Raw,
            },
            mode: self.kernel.as_ref().map(KernelDatapath::mode),
            counters: kernel.clone().unwrap_or_default().plus(&raw),
            kernel,
            raw,
        }
    }
}

/// Attaches the XDP program as the settings say; `None` where the raw datapath serves alone.
fn attach(
    modes: Modes,
    interface: &Interface,
    tables: &KernelTables,
) -> Result<Option<KernelDatapath>> {
    let best: &[Mode] = if interface.is_veth {
        // A veth peer drops what a native program sends back unless it has XDP or GRO itself,
        // which cannot be told from this end.
        &[Mode::Generic]
    } else {
        &[Mode::Native, Mode::Generic]
    };
    let attached = match &modes {
        Modes::Never => return Ok(None),
        Modes::Only(mode) | Modes::Prefer(mode) => {
            KernelDatapath::attach(interface, &[*mode], tables)
        }
        Modes::Auto | Modes::Any => KernelDatapath::attach(interface, best, tables),
    };
    match (attached, modes) {
        (Ok(kernel), _) => Ok(Some(kernel)),
        (Err(error), Modes::Auto | Modes::Prefer(_)) => {
            warn!("serving {} by raw: {error:#}", interface.name);
            Ok(None)
        }
        (Err(error), _) => Err(error),
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
