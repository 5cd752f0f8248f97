//! `proxydhcp fleet`: the nodes of many service nodes, in etcd.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::cli::Context;
use crate::cli::args::{CONFIG, GroupsArgs, RootArgs, SettingsArgs, SourceArgs, range};
use crate::cli::complete;
use crate::cli::followed::time;
use crate::fleet::client::{Access, Client};
use crate::fleet::keys::Keys;
use crate::winpe::path::Rules;

mod edit;
mod push;
mod revisions;
mod status;
mod watch;

pub(super) use edit::{edit, nodes};

/// The commands of `fleet`.
#[derive(Clone, Debug, Subcommand)]
pub enum FleetCommand {
    /// Write a proxydhcp.cfg, and the files beside it, into etcd, for all service nodes
    ///
    /// Shows what changes. Service nodes put it into service as a whole. If it is killed, nothing has
    /// changed, and it goes on where it was when it is run again.
    #[command(after_help = "\
Examples:
  proxydhcp fleet push /var/lib/xcat/proxydhcp.cfg --dry-run
  proxydhcp fleet push /var/lib/xcat/proxydhcp.cfg
  proxydhcp fleet push /var/lib/xcat/proxydhcp.cfg --range @rack1   these nodes, and no others
  proxydhcp fleet push /var/lib/xcat/proxydhcp.cfg --watch          and each later change")]
    Push(PushArgs),
    /// Write what is in etcd into a proxydhcp.cfg, and the files beside it
    #[command(after_help = "\
Examples:
  proxydhcp fleet pull /root/proxydhcp.cfg
  proxydhcp fleet pull /root/before.cfg --revision 4711")]
    Pull(PullArgs),
    /// Show how a proxydhcp.cfg differs from what is in etcd
    ///
    /// Exits with 1 if it does.
    #[command(after_help = "\
Examples:
  proxydhcp fleet diff /var/lib/xcat/proxydhcp.cfg")]
    Diff(DiffArgs),
    /// Show the service nodes, and whether all of them serve the same
    ///
    /// Exits with 2 if they do not.
    #[command(after_help = "\
Examples:
  proxydhcp fleet status
  proxydhcp fleet status --json | jq -r '.hosts[] | select(.serving.bad > 0).host'")]
    Status(StatusArgs),
    /// Wait until all service nodes serve a revision, or a later one
    ///
    /// Exits with 2 if some do not at the end of --timeout, and names them.
    #[command(after_help = "\
Examples:
  proxydhcp fleet wait 4711 --timeout 30s")]
    Wait(WaitArgs),
    /// Show who has changed what, as far back as etcd remembers
    #[command(after_help = "\
Examples:
  proxydhcp fleet history
  proxydhcp fleet history --limit 5 --json")]
    History(HistoryArgs),
    /// Put into force what was at a revision
    #[command(after_help = "\
Examples:
  proxydhcp fleet rollback 4711 --dry-run
  proxydhcp fleet rollback 4711")]
    Rollback(RollbackArgs),
}

/// Options of all commands.
#[derive(Clone, Debug, Args)]
pub struct FleetArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub source: SourceArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

/// Options of commands that judge WinPE paths.
#[derive(Clone, Debug, Args)]
pub struct RulesArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub fleet: FleetArgs,
}

/// Arguments of `fleet push`.
#[derive(Clone, Debug, Args)]
pub struct PushArgs {
    /// The proxydhcp.cfg, or the folder that has it
    #[arg(value_name = "FILE|DIR", default_value = CONFIG, value_parser = PathBufValueParser::new().map(file_or_folder))]
    pub cfg: PathBuf,
    /// Only these nodes; all others stay as they are
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true, value_parser = range, add = complete::files::nodes())]
    pub range: Option<String>,
    /// Show what would change, without changing it
    #[arg(long)]
    pub dry_run: bool,
    /// Go on, and push each later change of the file and of those beside it
    ///
    /// Where etcd does not answer, it is tried again and again. A file that is wrong changes nothing. What
    /// others change in etcd meanwhile stays until the file changes.
    #[arg(long, conflicts_with = "dry_run")]
    pub watch: bool,
    /// Push a file without nodes, so that none is served any longer
    #[arg(long)]
    pub allow_empty: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub groups: GroupsArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub rules: RulesArgs,
}

/// The path of a `proxydhcp.cfg`, of itself or of its folder.
fn file_or_folder(path: PathBuf) -> PathBuf {
    if path.is_dir() {
        return path.join("proxydhcp.cfg");
    }
    path
}

/// Arguments of `fleet pull`.
#[derive(Clone, Debug, Args)]
pub struct PullArgs {
    /// The proxydhcp.cfg to write
    #[arg(value_name = "FILE")]
    pub cfg: PathBuf,
    /// What was in force at this revision [default: what is]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<i64>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub rules: RulesArgs,
}

/// Arguments of `fleet diff`.
#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// The proxydhcp.cfg, or the folder that has it
    #[arg(value_name = "FILE|DIR", default_value = CONFIG, value_parser = PathBufValueParser::new().map(file_or_folder))]
    pub cfg: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub rules: RulesArgs,
}

/// Arguments of `fleet status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub fleet: FleetArgs,
}

/// Arguments of `fleet wait`.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// The revision
    #[arg(value_name = "REVISION")]
    pub revision: i64,
    /// How long to wait, such as 30s or 5min
    #[arg(long, value_name = "DURATION", default_value = "1min", value_parser = time)]
    pub timeout: Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub fleet: FleetArgs,
}

/// Arguments of `fleet history`.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// Show at most this many changes
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub fleet: FleetArgs,
}

/// Arguments of `fleet rollback`.
#[derive(Clone, Debug, Args)]
pub struct RollbackArgs {
    /// The revision, such as one of `fleet history`
    #[arg(value_name = "REVISION")]
    pub revision: i64,
    /// Show what would change, without changing it
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub fleet: FleetArgs,
}

impl FleetCommand {
    /// The options of all commands.
    pub(super) fn of(&self) -> &FleetArgs {
        match self {
            Self::Push(args) => &args.rules.fleet,
            Self::Pull(args) => &args.rules.fleet,
            Self::Diff(args) => &args.rules.fleet,
            Self::Status(args) => &args.fleet,
            Self::Wait(args) => &args.fleet,
            Self::History(args) => &args.fleet,
            Self::Rollback(args) => &args.fleet,
        }
    }
}

/// A connection to a fleet.
struct Fleet {
    client: Client,
    keys: Keys,
}

impl Fleet {
    fn new(access: Access) -> Self {
        Self {
            keys: Keys::below(&access.address.prefix),
            client: Client::new(access),
        }
    }
}

impl FleetArgs {
    fn fleet(&self) -> Result<Fleet> {
        let access = self.source.access().ok_or_else(|| {
            let file = self.settings.file.as_deref();
            anyhow::anyhow!(
                "no source is named: give --source etcds://HOST:2379/PREFIX, or set source in {}",
                file.unwrap_or(Path::new(super::settings::DEFAULT_FILE))
                    .display()
            )
        })?;
        Ok(Fleet::new(access))
    }
}

impl RulesArgs {
    fn rules<'a>(&'a self, context: &'a Context) -> Rules<'a> {
        context.rules(&self.root)
    }
}

/// What is printed behind the description of a change, which may have been `written` by a revision.
pub(super) fn in_force(written: Option<i64>) -> String {
    match written {
        Some(revision) => format!("\nin force: revision {revision}"),
        None => "; nothing is written".to_owned(),
    }
}

/// Runs a command.
///
/// # Errors
/// If etcd cannot be asked, or a file or the command's arguments are wrong. Nothing is half done.
pub(super) fn run(command: &FleetCommand, context: &Context) -> Result<ExitCode> {
    match command {
        FleetCommand::Push(args) if args.watch => watch::push(args, context),
        FleetCommand::Push(args) => push::push(args, context),
        FleetCommand::Pull(args) => push::pull(args, context),
        FleetCommand::Diff(args) => push::diff(args, context),
        FleetCommand::Status(args) => status::run(args),
        FleetCommand::Wait(args) => status::wait(args),
        FleetCommand::History(args) => revisions::history(args),
        FleetCommand::Rollback(args) => revisions::rollback(args),
    }
}
