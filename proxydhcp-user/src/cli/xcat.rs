//! The commands for a site that is managed with xCAT.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Context;
use super::args::ControlArgs;
use crate::nodes::xcat::{TABDUMP, Tabdump};
use sync::SyncArgs;

mod plan;
mod sync;

/// How long xCAT may take for one of its tables: far longer than it does.
const PATIENCE: Duration = Duration::from_mins(2);

/// The commands for xCAT.
#[derive(Debug, Subcommand)]
pub enum XcatCommand {
    /// Make proxydhcp.cfg from xCAT's tables, which know more than nodeset writes.
    ///
    /// The tables are read with tabdump. Each node that is set to boot Windows (chain.currstate)
    /// gets a record with the WinPE of its image; all other records go. Prints what nodeset had lost
    /// or damaged. If nothing differs, nothing is written. If a table is missing or odd, or more than
    /// --allow-loss of the records would go, nothing is written either.
    ///
    /// Exits with 2 if the tables contradict each other about some nodes; these keep the records they
    /// have. With --check, exits with 1 if the file is not what the tables say.
    #[command(after_help = "\
Examples:
  proxydhcp xcat sync --dry-run        what differs, without writing it
  proxydhcp xcat sync
  proxydhcp xcat sync --check || echo nodeset has lost records
  proxydhcp xcat sync --server sn1 --write-hosts /etc/proxydhcp.hosts   on a service node")]
    Sync(Box<SyncArgs>),
}

impl XcatCommand {
    pub(super) fn control(&self) -> &ControlArgs {
        match self {
            Self::Sync(args) => &args.control,
        }
    }
}

/// Options that say how xCAT is asked.
#[derive(Clone, Debug, Args)]
pub struct TabdumpArgs {
    /// xCAT's program that prints its tables
    #[arg(long, value_name = "PROGRAM", default_value = TABDUMP)]
    pub tabdump: PathBuf,
}

impl TabdumpArgs {
    fn tabdump(&self) -> Tabdump<'_> {
        Tabdump {
            program: &self.tabdump,
            limit: PATIENCE,
            bypass: false,
        }
    }
}

/// Runs a command.
///
/// # Errors
///
/// If xCAT's tables or a file cannot be read or written, or the daemon rejects it.
pub(super) fn run(command: &XcatCommand, context: &Context) -> Result<ExitCode> {
    match command {
        XcatCommand::Sync(args) => sync::run(args, context),
    }
}
