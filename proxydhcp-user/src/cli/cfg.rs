//! The commands that work on `proxydhcp.cfg`. Data goes to stdout, messages to stderr; colours only
//! to a terminal, and never with `NO_COLOR`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::Context;
use super::args::SettingsArgs;
use check::CheckArgs;
use dump::DumpArgs;
use import::ImportArgs;
use repair::RepairArgs;

pub(crate) mod changes;
mod check;
pub mod dump;
pub mod import;
pub(crate) mod repair;

/// The commands on `proxydhcp.cfg`.
#[derive(Debug, Subcommand)]
pub enum CfgCommand {
    /// Show what is wrong with the file, by the daemon's own rules, and how to correct it.
    ///
    /// Exits with 0 if the file is sound, with 1 if there are errors (records that are not served), and
    /// with 2 if there are only warnings (nodes without an address, or served differently than their
    /// records say).
    #[command(after_help = "\
Examples:
  proxydhcp cfg check
  proxydhcp cfg check --config new.cfg --hosts /etc/hosts --json | jq '.findings[].message'")]
    Check(CheckArgs),
    /// Print all records, including bad ones; unprintable bytes are escaped.
    #[command(after_help = "\
Examples:
  proxydhcp cfg dump --limit 20
  proxydhcp cfg dump --json > nodes.json     what `cfg import` reads")]
    Dump(DumpArgs),
    /// Import nodes from a CSV or JSON file into the configuration, and reload the daemon.
    ///
    /// A line of CSV is a node and its WinPE path; a first line `node,winpepath` and lines that begin
    /// with # are ignored. JSON is what `cfg dump --json` prints. Each node's record is replaced, or
    /// added at the end; all other records stay. If any line is bad, nothing is written.
    #[command(after_help = "\
Examples:
  proxydhcp cfg import nodes.csv --dry-run
  echo cn01,winboot/winpe-a | proxydhcp cfg import --format csv -
  proxydhcp cfg import --replace nodes.json  all other records go")]
    Import(ImportArgs),
    /// Keep the sound records of a damaged file, and move the rest to a file beside it.
    ///
    /// The rest goes to a file whose name is that of the configuration followed by .rejected and the
    /// time. Where bytes are missing or surplus, the records next to them are in doubt, and are not
    /// kept.
    #[command(after_help = "\
Examples:
  proxydhcp cfg repair --dry-run
  proxydhcp cfg repair")]
    Repair(RepairArgs),
}

impl CfgCommand {
    pub(super) fn settings(&self) -> &SettingsArgs {
        match self {
            Self::Check(args) => &args.settings,
            Self::Dump(args) => &args.settings,
            Self::Import(args) => &args.control.settings,
            Self::Repair(args) => &args.control.settings,
        }
    }
}

/// Runs a command.
///
/// # Errors
///
/// If a file cannot be read or written, or the daemon rejects it.
pub(super) fn run(command: &CfgCommand, context: &Context) -> Result<ExitCode> {
    match command {
        CfgCommand::Check(args) => check::check(args, context),
        CfgCommand::Dump(args) => dump::dump(args, context),
        CfgCommand::Import(args) => import::import(args, context),
        CfgCommand::Repair(args) => repair::repair(args, context),
    }
}
