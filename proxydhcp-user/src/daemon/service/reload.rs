//! The reload: reads the files again, and puts them into service in one step.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use tokio::task;
use tracing::{error, info};

use super::catalogue::{
    Read, What, accept, ask_before_loss, is_empty, read, report, restore, why_empty,
};
use super::install::{Filling, Next};
use super::{Service, effective_policy};
use crate::api::control::Allowed;
use crate::api::status::{NamesStatus, Reloaded, Took};
use crate::sys::{clock, heap, interface};
use crate::tables::table::{Loss, Table, changes};
use crate::text::with_causes;

/// The outcome of a reload, for all who have asked for it.
pub(crate) type Outcome = Arc<Result<Arc<Reloaded>>>;

/// A reload that several clients wait for.
pub(super) type Awaited = future::Shared<BoxFuture<'static, Outcome>>;

impl Service {
    /// Reads the files again and puts them into service, in one step. Names that the hosts file
    /// lacks keep the addresses that the resolver gave before, and are asked for afterwards.
    ///
    /// One reload runs at a time; all requests that arrive meanwhile share the next. If the files
    /// are rejected, what was in service stays.
    pub(crate) async fn reload(self: &Arc<Self>, allowed: Allowed) -> Outcome {
        let reload = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let reload = waiting
                .entry(allowed)
                .or_insert_with(|| self.begin_reload(allowed, What::All));
            reload.clone()
        };
        reload.await
    }

    /// Puts into service what is new at the source of the fleet. The files of this host are not read
    /// again for a few nodes that boot something else.
    pub(crate) async fn take_up(self: &Arc<Self>) -> Outcome {
        self.begin_reload(Allowed::default(), What::News).await
    }

    fn begin_reload(self: &Arc<Self>, allowed: Allowed, what: What) -> Awaited {
        let service = Arc::clone(self);
        // The client that asked may hang up.
        let reload = tokio::spawn(async move {
            let _one_at_a_time = service.installing.lock().await;
            if what == What::All {
                // Clients that ask from here on may have changed what is being read now.
                let mut waiting = service.waiting.lock();
                let waiting = waiting.as_deref_mut().map_err(PoisonError::get_mut);
                waiting.unwrap_or_else(|it| it).remove(&allowed);
            }
            service.reloading.send_replace(Some(Instant::now()));
            let result = service.reload_files(allowed, what).await;
            service.reload_ended(&result);
            result.map(Arc::new)
        });
        let done = reload.map(|ended| Arc::new(ended.unwrap_or_else(|error| Err(error.into()))));
        done.boxed().shared()
    }

    /// Reports the outcome of a reload to the log, the status and the waiting tasks.
    fn reload_ended(&self, result: &Result<Reloaded>) {
        match result {
            Ok(reloaded) => info!(
                generation = reloaded.generation,
                nodes = reloaded.nodes,
                refused = reloaded.refused.len(),
                unresolved = reloaded.names.unresolved.len(),
                "reloaded in {:.1} ms",
                reloaded.took.total
            ),
            Err(error) => error!(
                "not reloaded, the tables in service stay: {}",
                with_causes(error)
            ),
        }
        {
            let mut catalogue = self.catalogue();
            catalogue.rejected = result.as_ref().err().map(with_causes);
            // As it was, if what was read is not in service.
            let serves_strangers = catalogue.configured.policy.unknown.serves_looked_up();
            if catalogue.rejected.is_some() {
                Arc::make_mut(&mut catalogue.looked_up).serve_strangers(serves_strangers);
            }
            let took = result.as_ref().ok().map(|reloaded| reloaded.took);
            catalogue.reloads.count(took, clock::since_1970());
        }
        self.events.reloaded(result);
        self.interfaces().retry_now();
        self.failures_changed.notify_one();
        if result.is_ok() {
            self.reloaded.notify_one();
            self.answered.notify_one();
        }
        self.reloading.send_replace(None);
    }

    async fn reload_files(&self, allowed: Allowed, what: What) -> Result<Reloaded> {
        let started = Instant::now();
        let in_service = Arc::clone(self.catalogue().table.files());
        let Read {
            files,
            configured,
            taken,
            portion,
        } = read(&self.settings, Some(in_service), what).await?;
        let (files, configured) = (Arc::new(files), Arc::new(configured));
        let (old, mut names, awaits_tables) = {
            let mut catalogue = self.catalogue();
            let looked_up = Arc::make_mut(&mut catalogue.looked_up);
            looked_up.forget_nameless();
            looked_up.serve_strangers(configured.policy.unknown.serves_looked_up());
            let names = catalogue.names.of(files.wanted(), Instant::now());
            (Arc::clone(&catalogue.table), names, catalogue.awaits_tables)
        };
        if awaits_tables {
            restore(&self.settings.saved, &mut names);
        }
        let mut table = self.build(files, &names);
        let read = started.elapsed();
        let compare = |table: &Table| task::block_in_place(|| changes(&old, table));
        let mut differences = compare(&table);
        if self.why_not(&table, &differences.loss, allowed).is_some() {
            // A late answer of the resolver is better than losing nodes in service.
            ask_before_loss(&mut names).await;
            table = self.build(Arc::clone(table.files()), &names);
            differences = compare(&table);
            if let Some(why) = self.why_not(&table, &differences.loss, allowed) {
                bail!(why);
            }
        }
        let resolve = started.elapsed().saturating_sub(read);
        let local = interface::local_addresses(&interface::list().await?);
        table.warn_of_own(&local);
        table.warn_of_offers(self.settings.offers);
        report(&table, &names);
        let (mut table, names) = (Arc::new(table), Arc::new(names));
        let Filling { fill, swap } = self.install(Next {
            table: Arc::clone(&table),
            policy: effective_policy::of(&configured.policy, false, &names),
            local,
            reloaded: Some((configured, Arc::clone(&names), allowed)),
            is_final: true,
        })?;
        accept(&self.settings, taken, portion);
        let installed = Arc::clone(&self.catalogue().table);
        if !Arc::ptr_eq(&installed, &table) {
            // Some nodes did not fit into the tables.
            (differences, table) = (compare(&installed), installed);
        }
        let names = task::block_in_place(|| NamesStatus::new(&table, &names));
        drop(old);
        heap::give_back();
        Ok(Reloaded {
            generation: self.shared.tables.load().number,
            nodes: table.served(),
            changes: differences,
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

    /// Why a table does not replace the one in service: nodes would be lost that nobody has asked to go.
    fn why_not(&self, table: &Table, loss: &Loss, allowed: Allowed) -> Option<String> {
        let sources = &self.settings.sources;
        if is_empty(table) && !allowed.empty && self.has_nodes() {
            return Some(why_empty(sources, table));
        }
        let percent = allowed.loss_or(self.settings.allow_loss);
        loss.exceeds(percent)
            .then(|| loss.refusal(&sources.hosts, percent))
    }

    /// Whether nodes are answered, from these tables or from those of a killed daemon.
    fn has_nodes(&self) -> bool {
        let (has_nodes, awaits_tables) = {
            let catalogue = self.catalogue();
            (!is_empty(&catalogue.table), catalogue.awaits_tables)
        };
        has_nodes || awaits_tables && self.interfaces().leftovers_have_nodes()
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
