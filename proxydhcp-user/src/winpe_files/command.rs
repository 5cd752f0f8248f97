//! `proxydhcp winpe`: its commands and what they print.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::{Checked, activate, check, folder, folders};
use crate::cli::{CONFIG, TFTP_ROOT};
use crate::output::print;

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
  proxydhcp winpe activate winpe-a node1,node2 --dry-run
  proxydhcp winpe activate winpe-a node1,node2")]
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
}

/// Arguments of `winpe activate`.
#[derive(Clone, Debug, Args)]
pub struct ActivateArgs {
    /// The WinPE: its folder in winboot/, or its path
    pub name: String,
    /// The nodes, with commas between them
    pub range: String,
    /// The file that says which node boots which WinPE
    #[arg(
        long,
        value_name = "FILE",
        default_value = CONFIG
    )]
    pub config: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootArgs,
    /// Tell what would be copied, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Where the WinPEs are.
#[derive(Clone, Debug, Args)]
pub struct RootArgs {
    /// The folder that the TFTP server serves
    #[arg(long, value_name = "DIR", default_value = TFTP_ROOT)]
    pub tftp_root: PathBuf,
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
    let root = &args.root.tftp_root;
    let checked = checked(root, None)?;
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
    let root = &args.root.tftp_root;
    let checked = checked(root, args.name.as_deref())?;
    if checked.is_empty() {
        bail!("{}", none(root));
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
    let root = &args.root.tftp_root;
    let folder = folder(root, &args.name)?;
    let nodes = nodes(&args.range)?;
    let copies = activate::plan(root, &folder, &nodes, &args.config)?;
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

/// The nodes of a range: a list with commas.
fn nodes(range: &str) -> Result<Vec<String>> {
    let nodes: Vec<_> = range.split(',').map(str::trim).map(str::to_owned).collect();
    if nodes.iter().any(String::is_empty) {
        bail!("{range:?} names no node between two commas; write node1,node2");
    }
    Ok(nodes)
}

fn checked(root: &Path, name: Option<&str>) -> Result<Vec<Checked>> {
    let folders = match name {
        Some(name) => vec![folder(root, name)?],
        None => folders(root)?,
    };
    Ok(folders.iter().map(|folder| check(root, folder)).collect())
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
