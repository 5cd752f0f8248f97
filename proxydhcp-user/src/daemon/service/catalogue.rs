//! What is served: the table, the names it is made from, and the policy in effect.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task;
use tracing::{error, info, warn};

use super::effective_policy;
use super::failure::Uninstalled;
use crate::api::control::Allowed;
use crate::api::status::Reloads;
use crate::daemon::fleet::Taken;
use crate::daemon::{Configured, Settings};
use crate::fleet::portion::Portion;
use crate::fleet::settings::FleetSettings;
use crate::names::ask::ask_for_all;
use crate::names::forward::Names;
use crate::names::reverse::LookedUp;
use crate::names::saved;
use crate::sys::clock;
use crate::sys::interface::{self, Interface};
use crate::tables::followed::Followed;
use crate::tables::generation::Generation;
use crate::tables::policy::Policy;
use crate::tables::table::{Files, LoadError, Sources, Table};
use crate::text::{count, listed, with_causes};

/// How long to wait for the resolver where nodes in service would be lost otherwise.
const LOSS_LIMIT: Duration = Duration::from_secs(3);

/// What is served.
pub(super) struct Catalogue {
    pub(super) table: Arc<Table>,
    /// What the resolver has answered about names that the hosts file lacks.
    pub(super) names: Arc<Names>,
    /// What it has answered about the addresses of clients without a record.
    pub(super) looked_up: Arc<LookedUp>,
    /// What they are made by.
    pub(super) configured: Arc<Configured>,
    /// The policy of the tables in service.
    pub(super) policy: Policy,
    /// This host's own addresses.
    pub(super) local: Vec<Ipv4Addr>,
    /// Why the newest files are not in service, if they are not.
    pub(super) rejected: Option<String>,
    /// What should be in service by the files that passed, the resolver and this host's addresses, and
    /// is not.
    pub(super) uninstalled: Option<Uninstalled>,
    /// What may go out of service, by what the operator asked for.
    pub(super) allowed: Allowed,
    /// What has become of reloads.
    pub(super) reloads: Reloads,
    /// Whether no files have been accepted yet. Until then, what killed daemons have left goes on
    /// answering.
    pub(super) awaits_tables: bool,
}

impl Catalogue {
    /// The catalogue and the tables to begin with, whose nodes `follow` numbers. If they have no node, though what a killed
    /// daemon has left `answers_nodes`, the files are rejected.
    pub(super) async fn begin(
        settings: &Settings,
        answers_nodes: impl Fn() -> io::Result<bool>,
        follow: impl FnOnce(&Table) -> Arc<Followed>,
        all: &[Interface],
    ) -> Result<(Self, Generation)> {
        let (files, mut rejected) = match read(settings, None, What::All).await {
            Ok(files) => (files, None),
            Err(error) if settings.may_lack_config && error.is_missing() => {
                let files = Files::not_there_yet(&settings.sources.config);
                (Read::of(files, settings), None)
            }
            Err(error) => {
                error!("no node is served until this is corrected and reloaded: {error}");
                (Read::of(Files::none(), settings), Some(error.to_string()))
            }
        };
        let Read {
            files,
            configured,
            taken,
            portion,
        } = files;
        let mut looked_up = LookedUp::default();
        looked_up.serve_strangers(configured.policy.unknown.serves_looked_up());
        let mut names = Names::default().of(files.wanted(), Instant::now());
        restore(&settings.saved, &mut names);
        let mut table = Table::new(Arc::new(files), &names, &looked_up);
        if rejected.is_none() && is_empty(&table) && answers_nodes()? {
            // As at a reload, tables in service are not given up because the resolver was not
            // asked.
            ask_for_all(&mut names, LOSS_LIMIT).await;
            table = Table::new(Arc::clone(table.files()), &names, &looked_up);
            if is_empty(&table) {
                let why = why_empty(&settings.sources, &table);
                error!("{why}");
                rejected = Some(why);
            }
        }
        let local = interface::local_addresses(all);
        table.warn_of_own(&local);
        table.warn_of_offers(settings.offers);
        report(&table, &names);
        let awaits_tables = rejected.is_some();
        if !awaits_tables {
            accept(settings, taken, portion);
        }
        let policy = effective_policy::of(&configured.policy, awaits_tables, &names);
        let generation = Generation::following(
            &Generation::default(),
            &table,
            &local,
            &policy,
            &follow(&table),
        )?;
        let mut table = Arc::new(table);
        leave_out(&mut table, &generation);
        let catalogue = Self {
            table,
            names: Arc::new(names),
            looked_up: Arc::new(looked_up),
            configured: Arc::new(configured),
            policy,
            local,
            rejected,
            uninstalled: None,
            reloads: Reloads {
                files_read: (!awaits_tables).then(clock::since_1970),
                ..Reloads::default()
            },
            allowed: Allowed::default(),
            awaits_tables,
        };
        Ok((catalogue, generation))
    }
}

/// What tables are to be made from.
pub(super) struct Read {
    pub(super) files: Files,
    /// What they are to be made by.
    pub(super) configured: Configured,
    /// What was taken from the source of the fleet, if there is one.
    pub(super) taken: Option<Arc<Taken>>,
    /// What of it this service node serves, if not all.
    pub(super) portion: Option<Portion>,
}

impl Read {
    fn of(files: Files, settings: &Settings) -> Self {
        Self {
            files,
            configured: settings.configured(&FleetSettings::default()),
            taken: None,
            portion: None,
        }
    }
}

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    All,
    /// What is new at the source of the fleet, where that suffices.
    News,
}

/// Reads the files, which blocks, on a thread where it may. What has not changed since those in service, if
/// there are any, is not joined again.
///
/// # Errors
///
/// If the files are rejected; see [`LoadError`].
pub(super) async fn read(
    settings: &Settings,
    in_service: Option<Arc<Files>>,
    what: What,
) -> Result<Read, LoadError> {
    let settings = settings.clone();
    task::spawn_blocking(move || {
        let before = in_service.as_deref();
        let Some(fleet) = &settings.fleet else {
            let sources = &settings.sources;
            return Ok(Read::of(Files::read_following(before, sources)?, &settings));
        };
        let taken = fleet.newest().map_err(LoadError::Unknown)?;
        let configured = settings.configured(taken.settings());
        let sources = &configured.sources;
        let known = before.filter(|_| what == What::News);
        let news = known.zip(fleet.change(&taken));
        let changed = news.and_then(|(known, news)| known.with(news, sources.rules()));
        let (files, portion) = if let Some(files) = changed {
            (files, None)
        } else {
            let portion = fleet.portion(&taken);
            let (texts, portion) =
                portion.map_err(|error| LoadError::Unknown(with_causes(&error)))?;
            (Files::following(before, &texts, sources)?, portion)
        };
        Ok(Read {
            files,
            configured,
            taken: Some(taken),
            portion,
        })
    })
    .await?
}

/// Notes that what was taken from the source of the fleet is in service, or this portion of it.
pub(super) fn accept(settings: &Settings, taken: Option<Arc<Taken>>, portion: Option<Portion>) {
    if let (Some(fleet), Some(taken)) = (&settings.fleet, taken) {
        fleet.accept(taken, portion);
    }
}

/// Gives names without an answer the addresses of the file `saved`.
pub(super) fn restore(saved: &Path, names: &mut Names) {
    task::block_in_place(|| saved::restore(saved, names));
}

/// Asks the resolver for all names, for as long as clients of the control socket can wait.
pub(super) async fn ask_before_loss(names: &mut Names) {
    ask_for_all(names, LOSS_LIMIT).await;
}

/// Removes the addresses without a place in a generation from the table that it was built from, and
/// logs each.
pub(super) fn leave_out(table: &mut Arc<Table>, generation: &Generation) {
    if generation.left_out().is_empty() && generation.left_out_hardware().is_empty() {
        return;
    }
    let known = table.warnings().len();
    let changed = Arc::make_mut(table);
    changed.leave_out(generation.left_out());
    changed.leave_out_hardware(generation.left_out_hardware());
    for warning in table.warnings().iter().skip(known) {
        error!("{warning}");
    }
}

pub(super) fn is_empty(table: &Table) -> bool {
    table.served() == 0
}

/// Why these tables without a node do not replace others.
pub(super) fn why_empty(sources: &Sources, table: &Table) -> String {
    let Sources { config, hosts, .. } = sources;
    let config = config.display();
    let fault = match table.records() {
        0 => format!("{config} has no records, as if its writer had just begun"),
        records => format!(
            "no record of {config} has an address ({} in all); check {} and the DNS",
            count(records, "record"),
            hosts.display()
        ),
    };
    format!("{fault}; to serve no node from now on, run `proxydhcp reload --allow-empty`")
}

/// Logs which records are not in service, and which names are asked for.
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
            "asking the system resolver for {} that the hosts file lacks: {}",
            count(asked.len(), "name"),
            listed(&asked)
        );
    }
}
