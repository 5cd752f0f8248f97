//! `proxydhcp winpe`: its commands and their output.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use self::bcd::BcdCommand;
use self::create::CreateArgs;
use self::rm::RmArgs;
use crate::cli::args::{ConfigArgs, GroupsArgs, RootArgs, SettingsArgs, range};
use crate::cli::output::{note, print};
use crate::cli::{Context, complete};
use crate::nodes::cfg;
use crate::nodes::selection::Nodes;
use crate::sys::xcat::node_set;
use crate::text::{SHOWN, first_of};
use crate::winpe::activate;
use crate::winpe::check::{Checked, Folder, check, fault, folder, folders, look_inside};
use crate::winpe::path::{Rules, WinPe};
use crate::winpe::signature;

mod bcd;
mod create;
mod rm;

/// The commands of `winpe`.
#[derive(Clone, Debug, Subcommand)]
pub enum WinPeCommand {
    /// List the WinPEs below the TFTP root.
    #[command(after_help = "\
Examples:
  proxydhcp winpe list
  proxydhcp winpe list --tftp-root /srv/tftp --json | jq -r '.[].path'")]
    List(ListArgs),
    /// Check that clients can boot a WinPE: its files, their names, permissions and contents.
    ///
    /// Exits with 1 if anything is wrong.
    #[command(after_help = "\
Examples:
  proxydhcp winpe check
  proxydhcp winpe check winpe-a
  proxydhcp winpe check Boot           the default WinPE")]
    Check(CheckArgs),
    /// Make a WinPE from a medium of Windows or of the ADK: its loaders, BCDs, fonts and image.
    ///
    /// Two files of the medium are taken, sources/boot.wim and boot/boot.sdi; all else is in the image.
    /// The folder winboot/NAME/ is there whole or not at all: Ctrl-C and a power cut leave nothing of it,
    /// and with --replace the old one.
    #[command(after_help = "\
Examples:
  proxydhcp winpe create winpe-a --from windows.iso
  proxydhcp winpe create winpe-a --from windows.iso --index 1 --drivers net --startnet startnet.cmd --replace
  proxydhcp winpe create winpe-a-2023 --from /tftpboot/winboot/winpe-a/Boot/WinPE_64.wim --ca 2023")]
    Create(Box<CreateArgs>),
    /// Remove a WinPE that no node boots.
    ///
    /// Refused while a record of proxydhcp.cfg or the daemon's tables have it.
    #[command(after_help = "\
Examples:
  proxydhcp winpe rm winpe-old")]
    Rm(RmArgs),
    /// Activate a WinPE for nodes whose firmware has no proxyDHCP support.
    ///
    /// Such firmware looks for its BCD only in Boot/ of the TFTP root. The BCD of the WinPE is copied
    /// there, and bootmgr.exe to the TFTP root if it is missing. Nothing is changed unless all of the
    /// nodes have this WinPE in proxydhcp.cfg.
    #[command(after_help = "\
Examples:
  proxydhcp winpe activate winpe-a n[01-36],-n05 --dry-run
  proxydhcp winpe activate winpe-a @rack1")]
    Activate(ActivateArgs),
    /// Print or write a BCD, which says what Windows' boot manager boots.
    #[command(
        subcommand,
        after_help = "\
Examples:
  proxydhcp winpe bcd show /tftpboot/winboot/winpe-a/Boot/BCD
  proxydhcp winpe bcd write BCD --firmware bios --image winboot/winpe-a/Boot/WinPE_64.wim"
    )]
    Bcd(BcdCommand),
}

/// Arguments of `winpe list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootArgs,
    /// Print JSON
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
    #[arg(add = complete::files::winpes())]
    pub name: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootArgs,
    /// Print JSON
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
    #[arg(add = complete::files::winpes())]
    pub name: String,
    /// The nodes, such as n[01-36],-n05 (see `proxydhcp node --help`)
    #[arg(value_name = "RANGE", allow_hyphen_values = true, value_parser = range, add = complete::files::nodes())]
    pub range: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub groups: GroupsArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// Show what would be copied, without copying it
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

impl WinPeCommand {
    /// Where the settings are; `None` if the command depends on none.
    pub(crate) fn settings(&self) -> Option<&SettingsArgs> {
        match self {
            Self::List(args) => Some(&args.settings),
            Self::Check(args) => Some(&args.settings),
            Self::Activate(args) => Some(&args.settings),
            Self::Create(args) => Some(&args.settings),
            Self::Rm(args) => Some(&args.control.settings),
            Self::Bcd(_) => None,
        }
    }
}

/// Runs a command.
///
/// # Errors
///
/// If the WinPEs cannot be read, or one cannot be activated.
pub(super) fn run(command: &WinPeCommand, context: &Context) -> Result<ExitCode> {
    match command {
        WinPeCommand::List(args) => list(args, context),
        WinPeCommand::Check(args) => check_all(args, context),
        WinPeCommand::Activate(args) => activate(args, context),
        WinPeCommand::Create(args) => create::run(args, context),
        WinPeCommand::Rm(args) => rm::run(args, context),
        WinPeCommand::Bcd(command) => bcd::run(command),
    }
}

fn list(args: &ListArgs, context: &Context) -> Result<ExitCode> {
    let rules = context.rules(&args.root);
    let folders = named(None, rules)?;
    let checked: Vec<_> = folders.iter().map(|folder| check(folder, rules)).collect();
    let root = &args.root.tftp_root;
    if args.json {
        print(&serde_json::to_string_pretty(&checked)?);
    } else if checked.is_empty() {
        note(&none(root));
    } else {
        print(&table(&checked));
    }
    Ok(ExitCode::SUCCESS)
}

fn check_all(args: &CheckArgs, context: &Context) -> Result<ExitCode> {
    let rules = context.rules(&args.root);
    let checked = named(args.name.as_deref(), rules)?
        .into_iter()
        .map(|folder| {
            let mut checked = check(&folder, rules);
            look_inside(&mut checked, &folder, rules);
            checked
        });
    let checked: Vec<_> = checked.collect();
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

fn activate(args: &ActivateArgs, context: &Context) -> Result<ExitCode> {
    let ConfigArgs { config, root } = &args.config;
    let rules = context.rules(root);
    let folder = folder(&args.name, rules)?;
    let nodes = Nodes::read(config)?.some_of_range(&args.range, args.groups.file())?;
    let winpe = activate::target(&folder)?;
    agree(winpe, &nodes, config, rules)?;
    let copies = activate::plan(winpe, &root.tftp_root)?;
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

/// Notes what keeps nodes from booting these WinPEs, as far as the TFTP root is on this host.
pub(super) fn warn<'a>(winpes: impl IntoIterator<Item = &'a WinPe>, rules: Rules<'_>) {
    let faults = winpes.into_iter().filter_map(|winpe| fault(winpe, rules));
    let mut faults: Vec<_> = faults.map(|fault| format!("warning: {fault}")).collect();
    faults.sort_unstable();
    note(&first_of(&faults, SHOWN, "\n"));
}

/// The folder of this name, or all.
fn named(name: Option<&str>, rules: Rules<'_>) -> Result<Vec<Folder>> {
    match name {
        Some(name) => Ok(vec![folder(name, rules)?]),
        None => folders(rules),
    }
}

/// Checks that each node's record names this WinPE.
fn agree(winpe: &WinPe, nodes: &[String], config: &Path, rules: Rules<'_>) -> Result<()> {
    let bytes = cfg::read(config)?;
    let records = cfg::parse(&bytes, rules);
    let shown = config.display();
    let mut faults = Vec::new();
    for node in nodes {
        let record = records
            .position(node.as_bytes())
            .and_then(|position| records.records.get(position as usize));
        let refused = records
            .refused
            .iter()
            .find(|refused| refused.name.eq_ignore_ascii_case(node));
        let has = match (record, refused) {
            (Some(record), _) => records.winpes.get(record.winpe).unwrap_or(winpe),
            (None, Some(refused)) => {
                faults.push(format!(
                    "the record of {node} is refused: {}",
                    refused.reason
                ));
                continue;
            }
            (None, None) => {
                faults.push(format!("{node} has no record; run {} for it", node_set()));
                continue;
            }
        };
        if has.path() != winpe.path() {
            let has = match has.path() {
                "" => "the default WinPE",
                path => path,
            };
            faults.push(format!("{node} boots {has}"));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!(
        "nothing was changed: in {shown}, not all of these nodes boot {}: {}. Firmware without \
         proxyDHCP finds only one BCD, so activate one WinPE at a time",
        winpe.path(),
        first_of(&faults, SHOWN, "; ")
    )
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
    let state = match checked.findings.len() {
        0 => "ok".to_owned(),
        count => format!("{count} bad"),
    };
    let mut told = format!("{}: {state}\n", checked.name);
    for finding in &checked.findings {
        let _ = writeln!(told, "  {}: {}", finding.file, finding.problem);
        let _ = writeln!(told, "    remedy: {}", finding.remedy);
    }
    for loader in &checked.loaders {
        let meaning = signature::meaning(&loader.signatures);
        let _ = writeln!(told, "  {}: {meaning}", loader.file);
    }
    for note in &checked.notes {
        let _ = writeln!(told, "  note: {note}");
    }
    told
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn record(name: &str, path: &str) -> Vec<u8> {
        let mut record = name.as_bytes().to_vec();
        record.resize(50, 0);
        record.extend(path.as_bytes());
        record.resize(200, 0);
        record
    }

    /// What prevents activating `winboot/a/` for the nodes if the file has these records.
    fn faults(records: &[(&str, &str)], nodes: &[&str]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("proxydhcp.cfg");
        let records = records.iter().flat_map(|(name, path)| record(name, path));
        fs::write(&config, records.collect::<Vec<_>>()).unwrap();
        let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
        let rules = Rules::within(Path::new("/tftpboot"));
        let winpe = WinPe::parse(b"winboot/a", rules).unwrap();
        let agreed = agree(&winpe, &nodes, &config, rules);
        agreed.err().map(|error| error.to_string())
    }

    #[test]
    fn nodes_of_different_winpes_are_all_told() {
        let records = [
            ("n1", "winboot/a/"),
            ("n2", "winboot/b/"),
            ("n3", ""),
            ("n4", "../x"),
        ];
        let error = faults(&records, &["n1", "n2", "n3", "n4", "n5"]).unwrap();
        for text in [
            "nothing was changed",
            "n2 boots winboot/b/",
            "n3 boots the default WinPE",
            "the record of n4 is refused",
            "n5 has no record; run `proxydhcp node set`",
        ] {
            assert!(error.contains(text), "{text}: {error}");
        }
        let records = [("n1", "winboot/a/"), ("N2", "winboot/a")];
        assert_eq!(faults(&records, &["n1", "n2"]), None);
    }
}
