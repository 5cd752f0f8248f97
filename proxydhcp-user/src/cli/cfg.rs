//! The commands that work on `proxydhcp.cfg`. Data goes to stdout, messages to stderr; colours only
//! to a terminal, and never with `NO_COLOR`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{ConfigArgs, ControlArgs, NamesArgs, RootArgs, SettingsArgs};
use crate::nodes::cfg::RECORD;
use crate::sys::file::{self, FileError};

pub mod check;
pub mod dump;
pub mod import;
pub mod repair;

/// The commands on `proxydhcp.cfg`.
#[derive(Debug, Subcommand)]
pub enum CfgCommand {
    /// Tell what is wrong with the file, by the daemon's own rules, and what to do.
    ///
    /// Exits with 0 when it is sound, with 1 when there are errors (what is not served), with 2 when
    /// there are warnings only (nodes without an address, or not served as their records say).
    #[command(after_help = "\
Examples:
  proxydhcp cfg check
  proxydhcp cfg check --config new.cfg --hosts /etc/hosts --json | jq '.findings[].message'")]
    Check(CheckArgs),
    /// Print all records, bad ones too, with what is not printable escaped.
    #[command(after_help = "\
Examples:
  proxydhcp cfg dump --limit 20
  proxydhcp cfg dump --json > nodes.json     what `cfg import` reads")]
    Dump(DumpArgs),
    /// Put nodes from a CSV or JSON file into the config file, and have the daemon reload.
    ///
    /// CSV has a node and its WinPE path a line; a first line `node,winpepath` and lines that begin
    /// with # are passed over. JSON is what `cfg dump --json` prints. Each node's record is replaced,
    /// or added at the end; all other records stay. One bad line, and nothing is written.
    #[command(after_help = "\
Examples:
  proxydhcp cfg import nodes.csv --dry-run
  echo cn01,winboot/winpe-a | proxydhcp cfg import --format csv -
  proxydhcp cfg import --replace nodes.json  all other records go")]
    Import(ImportArgs),
    /// Keep the sound records of a damaged file, and write the rest beside it.
    ///
    /// The rest goes to a file named like the config file with .rejected and the time after it.
    /// Where bytes are missing or too many, records next to them may be in doubt, and are not kept.
    #[command(after_help = "\
Examples:
  proxydhcp cfg repair --dry-run
  proxydhcp cfg repair")]
    Repair(RepairArgs),
}

impl CfgCommand {
    pub(super) fn root_mut(&mut self) -> &mut RootArgs {
        let config = match self {
            Self::Check(args) => &mut args.config,
            Self::Dump(args) => &mut args.config,
            Self::Import(args) => &mut args.config,
            Self::Repair(args) => &mut args.config,
        };
        &mut config.root
    }

    pub(super) fn settings(&self) -> &SettingsArgs {
        match self {
            Self::Check(args) => &args.settings,
            Self::Dump(args) => &args.settings,
            Self::Import(args) => &args.control.settings,
            Self::Repair(args) => &args.control.settings,
        }
    }
}

/// Arguments of `cfg check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub names: NamesArgs,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

/// Arguments of `cfg dump`.
#[derive(Clone, Debug, Args)]
pub struct DumpArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// Print them as JSON, for programs and for `cfg import`
    #[arg(long)]
    pub json: bool,
    /// Print the first N records only
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

/// Arguments of `cfg import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The nodes; - is the standard input
    #[arg(value_name = "FILE")]
    pub nodes: PathBuf,
    /// What the file is [default: by its name's end, .csv or .json]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Have these nodes only: all other records go
    #[arg(long)]
    pub replace: bool,
    /// Print what would change, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Arguments of `cfg repair`.
#[derive(Clone, Debug, Args)]
pub struct RepairArgs {
    /// Print what would be kept and what not, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A node and its WinPE path a line
    Csv,
    /// What `cfg dump --json` prints
    Json,
}

/// Prints a message to the people at the terminal.
fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// The file's bytes, even if they end within a record.
fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    file::read(path, |bytes| bytes.len().is_multiple_of(RECORD))
}

/// The number and the noun, which has an s in the plural.
fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
