//! New tables for a service that goes on: after the files have changed, and when the resolver has
//! answered.

use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use tokio::sync::OnceCell;
use tokio::task;
use tracing::{error, info, warn};

use super::{Service, State, effective_policy};
use crate::api::status::{NamesStatus, Reloaded, Took};
use crate::daemon::control::MadeReply;
use crate::daemon::refresh;
use crate::daemon::service::announce::announce;
use crate::datapath::served_interface::{self, Served};
use crate::datapath::xdp::KernelTables;
use crate::names::forward::Names;
use crate::names::saved;
use crate::sys::{heap, interface};
use crate::tables::generation::{Generation, Policy};
use crate::tables::table::{Files, LoadError, Sources, Table, changes};

/// What came of a reload, for all who have asked for it.
pub(crate) type Outcome = Arc<Done>;

/// What came of it, and how its clients are told, once they are.
pub(crate) struct Done {
    pub(crate) result: Result<Arc<Reloaded>>,
    pub(crate) reply: OnceCell<Arc<MadeReply>>,
}

/// A reload that several wait for.
pub(super) type Shared = future::Shared<BoxFuture<'static, Outcome>>;

/// Why the resolver is not believed.
const NONE_LEFT: &str = "the resolver denies every name, so that no node would be left; check the DNS, \
    or, if no node is to be served any more, say so by `proxydhcp reload --allow-empty`";

/// How long a part of a reload took.
#[derive(Clone, Copy, Default)]
struct Filling {
    fill: Duration,
    swap: Duration,
}

impl Service {
    /// Reads the files again and puts them into service, in one step. Names that the hosts file
    /// lacks have the addresses that the resolver gave before, and are asked for afterwards.
    ///
    /// One reload is at work at a time. All that are asked for meanwhile are one. Where the files are
    /// rejected, what was in service stays.
    pub(crate) async fn reload(self: &Arc<Self>, allow_empty: bool) -> Outcome {
        let reload = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let reload = waiting
                .entry(allow_empty)
                .or_insert_with(|| self.begin(allow_empty));
            reload.clone()
        };
        reload.await
    }

    fn begin(self: &Arc<Self>, allow_empty: bool) -> Shared {
        let service = Arc::clone(self);
        // Whoever has asked for it may go away.
        let reload = tokio::spawn(async move {
            let _one_at_a_time = service.installing.lock().await;
            let waiting = || service.waiting.lock();
            // Those who ask from here on may have changed what is read now.
            waiting()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&allow_empty);
            service.reloading.send_replace(Some(Instant::now()));
            let result = service.reload_in_turn(allow_empty).await;
            service.reloading.send_replace(None);
            result.map(Arc::new)
        });
        let done = reload.map(|ended| {
            Arc::new(Done {
                result: ended.unwrap_or_else(|error| Err(error.into())),
                reply: OnceCell::new(),
            })
        });
        done.boxed().shared()
    }

    async fn reload_in_turn(&self, allow_empty: bool) -> Result<Reloaded> {
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
        self.retry_now();
        if result.is_ok() {
            self.reloaded.notify_one();
            self.answered.notify_one();
        }
        result
    }

    async fn reload_now(&self, allow_empty: bool) -> Result<Reloaded> {
        let started = Instant::now();
        let files = Arc::new(read(&self.settings.sources).await?);
        let (old, mut names, has_nodes, awaits_tables) = {
            let mut state = self.lock();
            Arc::make_mut(&mut state.looked_up).forget_nameless();
            let names = state.names.of(files.wanted(), Instant::now());
            let (table, has_nodes) = (Arc::clone(&state.table), state.has_nodes());
            (table, names, has_nodes, state.awaits_tables)
        };
        if awaits_tables {
            task::block_in_place(|| saved::restore(&self.settings.resolved, &mut names));
        }
        let mut table = self.table(files, &names);
        let read = started.elapsed();
        let empties = |table: &Table| is_empty(table) && has_nodes && !allow_empty;
        if empties(&table) {
            // Rather late than without any node that was in service.
            refresh::ask_for_all(&mut names).await;
            table = self.table(Arc::clone(table.files()), &names);
        }
        let resolve = started.elapsed().saturating_sub(read);
        if empties(&table) {
            bail!(why_empty(&self.settings.sources, &table));
        }
        let local = interface::local_addresses(&interface::list().await?);
        table.warn_of_own(&local);
        report(&table, &names);
        let changes = changes(&old, &table);
        let table = Arc::new(table);
        let policy = effective_policy::of(&self.settings.policy, false, &names);
        let Filling { fill, swap } = self.install(Arc::clone(&table), &local, &policy)?;
        self.tell_of_news(&old, &table);
        task::block_in_place(|| self.take_over_what_was_left());

        let mut state = self.lock();
        state.policy = policy;
        let names = Arc::new(names);
        state.names = Arc::clone(&names);
        state.local = local;
        state.allow_empty = allow_empty;
        drop(state);
        let names = task::block_in_place(|| NamesStatus::new(&table, &names));
        drop(old);
        heap::give_back();
        Ok(Reloaded {
            generation: self.tables.load().number,
            nodes: table.nodes().len(),
            changes,
            refused: table.refused().to_vec(),
            names,
            warnings: table.warnings().iter().map(ToString::to_string).collect(),
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
    /// The tables cannot be installed. What was in service stays.
    pub(crate) async fn rejoin(&self) -> Result<()> {
        let _one_at_a_time = self.installing.lock().await;
        self.rejoin_in_turn()
    }

    /// The same when the resolver was asked for all names: what it denies is gone. Where that would
    /// leave no node at all, it is not believed, and asked again.
    ///
    /// # Errors
    ///
    /// As [`Service::rejoin`].
    pub(crate) async fn end_round(&self) -> Result<()> {
        let _one_at_a_time = self.installing.lock().await;
        let (old, mut names, allow_empty) = {
            let state = self.lock();
            let table = Arc::clone(&state.table);
            (table, Arc::clone(&state.names), state.allow_empty)
        };
        if names.has_denied() {
            Arc::make_mut(&mut names).settle();
            let table = self.table(Arc::clone(old.files()), &names);
            let mut state = self.lock();
            if is_empty(&table) && !is_empty(&old) && !allow_empty {
                Arc::make_mut(&mut state.names).doubt(NONE_LEFT);
            } else {
                Arc::make_mut(&mut state.names).settle();
            }
        }
        self.rejoin_in_turn()
    }

    fn rejoin_in_turn(&self) -> Result<()> {
        let local = self.lock().local.clone();
        let result = self.rejoin_now(local);
        self.reloading.send_replace(None);
        self.answered.notify_one();
        if let Err(error) = &result {
            error!("the tables in service stay: {error:#}");
            self.lock().rejected = Some(format!("{error:#}"));
        }
        result
    }

    /// Answers to these addresses of this host from now on.
    ///
    /// # Errors
    ///
    /// As [`Service::rejoin`].
    pub(super) fn readdress(&self, local: Vec<Ipv4Addr>) -> Result<()> {
        if self.lock().local == local {
            return Ok(());
        }
        self.rejoin_now(local)
    }

    fn rejoin_now(&self, local: Vec<Ipv4Addr>) -> Result<()> {
        let (old, names, old_local, allow_empty) = {
            let state = self.lock();
            let (table, names) = (Arc::clone(&state.table), Arc::clone(&state.names));
            (table, names, state.local.clone(), state.allow_empty)
        };
        let mut table = self.table(Arc::clone(old.files()), &names);
        if is_empty(&table) && !is_empty(&old) && !allow_empty {
            // All were clients that were looked up, and whose names are too old by now.
            table = table.with_nodes_of(&old);
        }
        table.warn_of_own(&local);
        let nodes = table.nodes().len();
        let (begins, policy, is_wait_over) = {
            let state = self.lock();
            // No name had an address at the start, and now one has.
            let begins = nodes > 0 && state.awaits_tables;
            let awaits_tables = state.awaits_tables && !begins;
            let policy = effective_policy::of(&self.settings.policy, awaits_tables, &names);
            let is_wait_over = state.is_wait_over(&policy);
            (begins, policy, is_wait_over)
        };
        if table.serves_as(&old) && local == old_local && !is_wait_over {
            self.lock().table = Arc::new(table);
            return Ok(());
        }
        let table = Arc::new(table);
        self.install(Arc::clone(&table), &local, &policy)?;
        self.tell_of_news(&old, &table);
        if begins {
            task::block_in_place(|| self.take_over_what_was_left());
            self.lock().rejected = None;
        }
        heap::give_back();
        let generation = self.tables.load().number;
        self.lock().policy = policy;
        if local == old_local {
            info!(generation, nodes, "the resolver's answers are in service");
        } else {
            info!(generation, nodes, "this host's addresses are now {local:?}");
            self.lock().local = local;
        }
        Ok(())
    }

    fn table(&self, files: Arc<Files>, names: &Names) -> Table {
        // A large table is not made under the lock.
        let looked_up = Arc::clone(&self.lock().looked_up);
        task::block_in_place(|| Table::new(files, names, &looked_up))
    }

    fn tell_of_news(&self, old: &Table, new: &Table) {
        if self.settings.announces {
            announce(old, new, &self.settings.policy.loaders);
        }
    }

    /// Copying tables and swapping maps blocks for some milliseconds.
    fn install(&self, table: Arc<Table>, local: &[Ipv4Addr], policy: &Policy) -> Result<Filling> {
        task::block_in_place(|| {
            let filling = Instant::now();
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
                served_interface::install(served, tables, before.as_ref())?;
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
}

/// Reads the files, which blocks, on a thread where it may.
pub(super) async fn read(sources: &Sources) -> Result<Files, LoadError> {
    let sources = sources.clone();
    task::spawn_blocking(move || Files::read(&sources)).await?
}

/// Why these tables, which are without a node, do not take the place of others.
pub(super) fn why_empty(sources: &Sources, table: &Table) -> String {
    let Sources { config, hosts, .. } = sources;
    let config = config.display();
    let fault = match table.records() {
        0 => format!("{config} has no records, as if its writer had just begun"),
        records => format!(
            "not one of the {records} records of {config} has an address; check {} and the DNS",
            hosts.display()
        ),
    };
    format!(
        "{fault}; if no node is to be served any more, say so by `proxydhcp reload --allow-empty`"
    )
}

pub(super) fn is_empty(table: &Table) -> bool {
    table.nodes().len() == 0
}

/// Tells the log what of the files is not in service.
pub(super) fn report(table: &Table, names: &Names) {
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
