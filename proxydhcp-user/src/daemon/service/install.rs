//! New tables from the files as last read: after the resolver has answered, and when this host has
//! other addresses. Also what all new tables share: they are built and installed here.

use std::mem;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task;
use tracing::{error, info};

use super::catalogue::{Catalogue, is_empty, leave_out};
use super::failure::Uninstalled;
use super::{Service, effective_policy};
use crate::api::control::Allowed;
use crate::daemon::Configured;
use crate::datapath::xdp::KernelTables;
use crate::names::forward::Names;
use crate::sys::{clock, heap};
use crate::tables::generation::Generation;
use crate::tables::policy::Policy;
use crate::tables::table::{Files, Table, changes};
use crate::text::with_causes;

/// Why the resolver is not believed.
const NONE_LEFT: &str = "the resolver denies every name, so that no node would be left; check the DNS, \
    or, if no node should be served any longer, run `proxydhcp reload --allow-empty`";

/// Why it is not believed, either.
const FEW_LEFT: &str = "the resolver denies so many names that nodes would lose more than the";
const REMEDY: &str = "check the DNS, or, if these nodes should go, run `proxydhcp reload --allow-loss \
    100`";

/// What the resolver was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Some names.
    Some,
    /// All names. Those it denies are removed, unless that would leave no node at all, or too few. Then
    /// the resolver is not believed, and asked again.
    All,
}

/// A table to install, with what it was made from.
pub(super) struct Next {
    pub(super) table: Arc<Table>,
    pub(super) policy: Policy,
    pub(super) local: Vec<Ipv4Addr>,
    /// After a reload: what the table is made by, the names of the new files, and what may go out of service.
    pub(super) reloaded: Option<(Arc<Configured>, Arc<Names>, Allowed)>,
    /// Whether what killed daemons have left need not answer any longer.
    pub(super) is_final: bool,
}

/// How long the parts of an installation took.
#[derive(Clone, Copy, Default)]
pub(super) struct Filling {
    pub(super) fill: Duration,
    pub(super) swap: Duration,
}

impl Service {
    /// Puts into service what the resolver has answered since the last tables were made.
    ///
    /// # Errors
    ///
    /// If the tables cannot be installed. What was in service stays.
    pub(crate) async fn refresh(&self, asked: Asked) -> Result<()> {
        let _one_at_a_time = self.installing.lock().await;
        if asked == Asked::All {
            self.settle_names();
        }
        let local = self.catalogue().local.clone();
        let result = self.rebuild_or_retry(local);
        self.reloading.send_replace(None);
        self.answered.notify_one();
        result
    }

    /// What cannot be installed is tried again by and by.
    fn rebuild_or_retry(&self, local: Vec<Ipv4Addr>) -> Result<()> {
        let result = self.rebuild(local);
        let mut catalogue = self.catalogue();
        let before = catalogue.uninstalled.take();
        if let Err(error) = &result {
            let uninstalled = Uninstalled::new(error, before.as_ref());
            if before.is_none_or(|before| before.why != uninstalled.why) {
                error!("the tables in service stay: {}", with_causes(error));
            }
            catalogue.uninstalled = Some(uninstalled);
            self.failures_changed.notify_one();
        }
        result
    }

    /// Answers on these addresses of this host from now on, and tries again to install what could not
    /// be installed before. If that fails, it is logged, and tried again later.
    pub(super) fn readdress(&self, local: Vec<Ipv4Addr>) {
        let is_so = {
            let catalogue = self.catalogue();
            let is_due = catalogue
                .uninstalled
                .as_ref()
                .is_some_and(Uninstalled::is_due);
            catalogue.local == local && !is_due
        };
        if !is_so {
            let _ = self.rebuild_or_retry(local);
        }
    }

    /// Accepts what the resolver denies, or keeps the names if it denies too many.
    fn settle_names(&self) {
        let (old, mut names, allowed) = {
            let catalogue = self.catalogue();
            let (table, names) = (Arc::clone(&catalogue.table), Arc::clone(&catalogue.names));
            (table, names, catalogue.allowed)
        };
        if !names.has_denied() {
            return;
        }
        Arc::make_mut(&mut names).settle();
        let table = self.build(Arc::clone(old.files()), &names);
        let doubt = if is_empty(&table) && !is_empty(&old) && !allowed.empty {
            Some(NONE_LEFT.to_owned())
        } else {
            let percent = allowed.loss_or(self.settings.allow_loss);
            let loss = task::block_in_place(|| changes(&old, &table)).loss;
            loss.exceeds(percent)
                .then(|| format!("{FEW_LEFT} {percent} % that --allow-loss accepts; {REMEDY}"))
        };
        let mut catalogue = self.catalogue();
        let names = Arc::make_mut(&mut catalogue.names);
        match doubt {
            Some(why) => names.doubt(&why),
            None => names.settle(),
        }
    }

    /// Builds and installs tables from the files as last read, if clients would see a difference.
    fn rebuild(&self, local: Vec<Ipv4Addr>) -> Result<()> {
        let (old, names, configured, allowed, awaits_tables) = {
            let catalogue = self.catalogue();
            let (table, names) = (Arc::clone(&catalogue.table), Arc::clone(&catalogue.names));
            let configured = Arc::clone(&catalogue.configured);
            (
                table,
                names,
                configured,
                catalogue.allowed,
                catalogue.awaits_tables,
            )
        };
        let mut table = self.build(Arc::clone(old.files()), &names);
        if is_empty(&table) && !is_empty(&old) && !allowed.empty {
            // These were clients that had been looked up, and whose names are too old by now.
            table = table.with_nodes_of(&old);
        }
        table.warn_of_own(&local);
        table.warn_of_offers(self.settings.offers);
        let nodes = table.served();
        // At the start no name had an address; now one has.
        let is_final = nodes > 0 || !awaits_tables;
        let policy = effective_policy::of(&configured.policy, !is_final, &names);
        let (is_readdressed, is_wait_over) = {
            let catalogue = self.catalogue();
            (
                catalogue.local != local,
                effective_policy::is_wait_over(&policy, &catalogue.policy),
            )
        };
        if table.serves_as(&old) && !is_readdressed && !is_wait_over {
            self.catalogue().table = Arc::new(table);
            return Ok(());
        }
        self.install(Next {
            table: Arc::new(table),
            policy,
            local,
            reloaded: None,
            is_final,
        })?;
        heap::give_back();
        let generation = self.shared.tables.load().number;
        if is_readdressed {
            let local = self.catalogue().local.clone();
            info!(generation, nodes, "this host's addresses are now {local:?}");
        } else {
            info!(generation, nodes, "the resolver's answers are in service");
        }
        Ok(())
    }

    /// Builds a table from these files and names. As a large one takes time, no lock is held.
    pub(super) fn build(&self, files: Arc<Files>, names: &Names) -> Table {
        let looked_up = Arc::clone(&self.catalogue().looked_up);
        task::block_in_place(|| Table::new(files, names, &looked_up))
    }

    /// Puts a table into service, in one step. It blocks for some milliseconds, because it copies
    /// tables and swaps maps.
    ///
    /// # Errors
    ///
    /// If a reply cannot be encoded, or the kernel does not accept the tables. What was in service
    /// stays.
    pub(super) fn install(&self, mut next: Next) -> Result<Filling> {
        task::block_in_place(|| {
            let filling = Instant::now();
            let before = self.shared.tables.load();
            let followed = self.shared.activity.follow(&next.table);
            let generation =
                Generation::following(&before, &next.table, &next.local, &next.policy, &followed)?;
            drop(before);
            leave_out(&mut next.table, &generation);
            let in_kernel = self.interfaces().have_program();
            let kernel_tables = in_kernel
                .then(|| KernelTables::new(&generation))
                .transpose()?;
            let swapping = Instant::now();
            let new = Arc::clone(&next.table);
            let mut interfaces = self.interfaces();
            interfaces.install(kernel_tables.as_ref())?;
            let (old, begins) = {
                let mut catalogue = self.catalogue();
                self.shared.tables.store(Arc::new(generation));
                catalogue.take(next)
            };
            let swap = swapping.elapsed();
            if begins {
                interfaces.take_over_leftovers();
                self.failures_changed.notify_one();
            }
            drop(interfaces);
            self.announce(&old, &new);
            Ok(Filling {
                fill: swapping - filling,
                swap,
            })
        })
    }
}

impl Catalogue {
    /// Records what is in service now. Returns the table from before, and whether these are the
    /// tables awaited since the start.
    fn take(&mut self, next: Next) -> (Arc<Table>, bool) {
        let old = mem::replace(&mut self.table, next.table);
        self.policy = next.policy;
        self.local = next.local;
        self.uninstalled = None;
        if let Some((configured, names, allowed)) = next.reloaded {
            self.configured = configured;
            self.names = names;
            self.allowed = allowed;
        }
        let begins = next.is_final && mem::take(&mut self.awaits_tables);
        if begins {
            self.rejected = None;
            self.reloads.files_read = Some(clock::since_1970());
        }
        (old, begins)
    }
}
