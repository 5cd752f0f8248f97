//! `proxydhcp winpe`: its commands and what they print.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::cli::output::print;
use crate::cli::{ConfigArgs, GroupsArgs, RootArgs, SettingsArgs, range};
use crate::nodes::selection::Nodes;
use crate::winpe::activate;
use crate::winpe::check::{Checked, check, folder, folders};

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum WinPeCommand {
    /// List the WinPEs below the TFTP root.
    #[command(after_help = "\
Examples:
  proxydhcp winpe list
  proxydhcp winpe list --tftp-root /srv/tftp --json | jq -r '.[].path'")]
    List(ListArgs),
    /// Check that clients can boot a WinPE: its files, their names and rights, and what they hold.
    ///
    /// Exits with 1 when there is anything to mend.
    #[command(after_help = "\
Examples:
  proxydhcp winpe check
  proxydhcp winpe check winpe-a
  proxydhcp winpe check Boot           the default WinPE")]
    Check(CheckArgs),
    /// Let nodes boot a WinPE whose firmware knows no proxyDHCP.
    ///
    /// Such firmware finds its BCD only in Boot/ of the TFTP root: the WinPE's is copied there, and
    /// bootmgr.exe to the TFTP root where that is missing. All the nodes must have this WinPE in
    /// proxydhcp.cfg, or nothing is changed.
    #[command(after_help = "\
Examples:
  proxydhcp winpe activate winpe-a n[01-36],-n05 --dry-run
  proxydhcp winpe activate winpe-a @rack1")]
    Activate(ActivateArgs),
}

/// Arguments of `winpe list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootArgs,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

/// Arguments of `winpe check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The WinPE: its folder in winboot/, or its path, or Boot for the default one [default: all]
    pub name: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootArgs,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

/// Arguments of `winpe activate`.
#[derive(Clone, Debug, Args)]
pub struct ActivateArgs {
    /// The WinPE: its folder in winboot/, or its path
    pub name: String,
    /// The nodes, such as n[01-36],-n05 (see `proxydhcp node --help`)
    #[arg(value_name = "RANGE", allow_hyphen_values = true, value_parser = range)]
    pub range: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub groups: GroupsArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// Tell what would be copied, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

impl WinPeCommand {
    /// What is to be told of the settings.
    pub(crate) fn root_mut(&mut self) -> &mut RootArgs {
        match self {
            Self::List(args) => &mut args.root,
            Self::Check(args) => &mut args.root,
            Self::Activate(args) => &mut args.config.root,
        }
    }

    /// Where the settings are.
    pub(crate) fn settings(&self) -> &SettingsArgs {
        match self {
            Self::List(args) => &args.settings,
            Self::Check(args) => &args.settings,
            Self::Activate(args) => &args.settings,
        }
    }
}

/// Runs a command.
///
/// # Errors
///
/// Its failure, in words.
pub fn run(command: &WinPeCommand) -> Result<ExitCode> {
    match command {
        WinPeCommand::List(args) => list(args),
        WinPeCommand::Check(args) => check_all(args),
        WinPeCommand::Activate(args) => activate(args),
    }
}

fn list(args: &ListArgs) -> Result<ExitCode> {
    let checked = checked(&args.root, None)?;
    let root = &args.root.tftp_root;
    if args.json {
        print(&serde_json::to_string_pretty(&checked)?);
    } else if checked.is_empty() {
        eprintln!("{}", none(root));
    } else {
        print(&table(&checked));
    }
    Ok(ExitCode::SUCCESS)
}

fn check_all(args: &CheckArgs) -> Result<ExitCode> {
    let checked = checked(&args.root, args.name.as_deref())?;
    if checked.is_empty() {
        bail!("{}", none(&args.root.tftp_root));
    }
    if args.json {
        print(&serde_json::to_string_pretty(&checked)?);
    } else {
        let told: Vec<_> = checked.iter().map(describe).collect();
        print(&told.concat());
    }
    let sound = checked.iter().all(|checked| checked.findings.is_empty());
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn activate(args: &ActivateArgs) -> Result<ExitCode> {
    let RootArgs { tftp_root, loaders } = &args.config.root;
    let folder = folder(tftp_root, loaders, &args.name)?;
    let nodes = Nodes::read(&args.config.config)?.some_of_range(&args.range, &args.groups)?;
    let copies = activate::plan(&folder, &nodes, &args.config)?;
    if !args.dry_run {
        activate::put(&copies)?;
    }
    let mut told = String::new();
    for copy in &copies {
        let done = if args.dry_run { "would copy" } else { "copied" };
        let (from, to) = (copy.from.display(), copy.to.display());
        let _ = writeln!(told, "{done} {from} to {to}");
    }
    if copies.is_empty() {
        let _ = writeln!(told, "{} is active already", folder.name);
    }
    print(&told);
    Ok(ExitCode::SUCCESS)
}

fn checked(root: &RootArgs, name: Option<&str>) -> Result<Vec<Checked>> {
    let RootArgs { tftp_root, loaders } = root;
    let folders = match name {
        Some(name) => vec![folder(tftp_root, loaders, name)?],
        None => folders(tftp_root, loaders)?,
    };
    let checked = folders.iter();
    Ok(checked
        .map(|folder| check(tftp_root, loaders, folder))
        .collect())
}

fn none(root: &Path) -> String {
    let root = root.display();
    format!("there is no WinPE below {root}: neither a folder in winboot/ nor a loader in Boot/")
}

fn table(checked: &[Checked]) -> String {
    let width =
        |of: fn(&Checked) -> usize, least| checked.iter().map(of).max().unwrap_or(0).max(least);
    let name = width(|checked| checked.name.len(), 4);
    let path = width(|checked| checked.path.len(), 14);
    let mut table = format!("{:name$}  {:path$}  {:8}  IMAGE\n", "NAME", "PATH", "CHECK");
    for one in checked {
        let folder = if one.path.is_empty() {
            "(the default)"
        } else {
            &one.path
        };
        let state = match one.findings.len() {
            0 => "ok".to_owned(),
            count => format!("{count} bad"),
        };
        let images: Vec<_> = one.images.iter().map(|image| image.file.as_str()).collect();
        let _ = writeln!(
            table,
            "{:name$}  {folder:path$}  {state:8}  {}",
            one.name,
            images.join(", ")
        );
    }
    table
}

fn describe(checked: &Checked) -> String {
    if checked.findings.is_empty() {
        return format!("{}: ok\n", checked.name);
    }
    let mut told = format!("{}: {} to mend\n", checked.name, checked.findings.len());
    for finding in &checked.findings {
        let _ = writeln!(told, "  {}: {}", finding.file, finding.problem);
        let _ = writeln!(told, "    remedy: {}", finding.remedy);
    }
    told
}
