//! The commands for a site that is managed with xCAT.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::Context;
use super::args::ControlArgs;
use crate::nodes::cfg::{CfgError, read_damaged};
use crate::nodes::xcat::records::{Wanted, wanted};
use crate::nodes::xcat::{Site, TABDUMP, Tabdump};
use crate::sys::host_name;
use crate::winpe::path::Rules;
use status::StatusArgs;
use sync::SyncArgs;

mod plan;
mod status;
mod sync;

/// The file by which xCAT marks a service node.
const SERVICE_NODE: &str = "/etc/xCATSN";
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
  proxydhcp xcat sync --write-hosts /var/lib/xcat/proxydhcp.hosts     on a service node")]
    Sync(Box<SyncArgs>),
    /// Check that xCAT's link, the daemon, its pid file and the records agree.
    ///
    /// Prints a line for each, with the remedy where something is wrong, and exits with 1 then.
    #[command(after_help = "\
Examples:
  proxydhcp xcat status
  proxydhcp xcat status --json | jq '.[] | select(.sound | not)'")]
    Status(Box<StatusArgs>),
}

impl XcatCommand {
    pub(super) fn control(&self) -> &ControlArgs {
        match self {
            Self::Sync(args) => &args.control,
            Self::Status(args) => &args.control,
        }
    }
}

/// Options that say how xCAT is asked.
#[derive(Clone, Debug, Args)]
pub struct TabdumpArgs {
    /// Only the nodes of this service node, by noderes.servicenode [default: on a service node its
    /// own, elsewhere all]
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// xCAT's program that prints its tables
    #[arg(long, value_name = "PROGRAM", default_value = TABDUMP)]
    pub tabdump: PathBuf,
}

impl TabdumpArgs {
    /// Reads xCAT's tables, and what they ask for.
    ///
    /// # Errors
    ///
    /// If a table cannot be read or is odd, or no node is one of the server's.
    fn read(&self, rules: Rules<'_>) -> Result<(Site, Wanted)> {
        let tabdump = Tabdump {
            program: &self.tabdump,
            limit: PATIENCE,
            bypass: false,
        };
        let site = Site::read(&tabdump)?;
        let server = self.server();
        if let Some(server) = server.as_ref().filter(|server| !site.is_server(server)) {
            bail!(
                "no node names {server} as its service node (noderes.servicenode); \
                 name another with --server"
            );
        }
        let wanted = wanted(&site, server.as_deref(), rules);
        Ok((site, wanted))
    }

    /// The service node; none on a management node, which serves all nodes.
    fn server(&self) -> Option<String> {
        let is_service_node = || Path::new(SERVICE_NODE).exists();
        self.server
            .clone()
            .or_else(|| is_service_node().then(host_name)?.ok())
    }
}

/// The file's bytes, even if it is damaged. A missing file has none.
fn read_config(config: &Path) -> Result<Vec<u8>> {
    match read_damaged(config) {
        Err(CfgError::Missing(_)) => Ok(Vec::new()),
        read => Ok(read?),
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
        XcatCommand::Status(args) => status::run(args, context),
    }
}
