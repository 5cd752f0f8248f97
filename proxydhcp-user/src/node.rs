//! `proxydhcp node`: the operator's commands for nodes.
//!
//! They change `proxydhcp.cfg`, and the file of disabled nodes beside it, in one go each and under
//! one lock, and then tell the daemon to read them.

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::cfg::disabled::Disabled;
use crate::cfg::edit::{RawRecord, edit, raw_records};
use crate::cfg::file::{self, FileError};
use crate::cfg::{self, CfgError};
use crate::control::{NoDaemon, Reply, Request, ask};
use crate::noderange::{self, Groups};
use crate::output::print;

mod args;
mod list;
mod plan;
mod prune;
mod report;

pub use args::{HELP, NodeArgs, NodeCommand};

use args::{ChangeArgs, FileArgs};
use plan::{Attributes, Nodes};
use report::Report;

/// The groups file that is read unless another is named. It may be missing.
const DEFAULT_GROUPS: &str = "/etc/proxydhcp.groups";

/// Runs a command.
///
/// # Errors
/// Its arguments, or a file, are wrong; then nothing is changed. The daemon rejects what was
/// written.
pub fn run(args: &NodeArgs) -> Result<ExitCode> {
    match &args.command {
        NodeCommand::Set(set) => {
            let files = &set.change.files;
            let attributes = Attributes::parse(&set.attributes, files)?;
            let nodes = nodes_or_none(files)?;
            let names = some_names(&set.range.range, files, &nodes)?;
            change(&set.change, &names, |nodes| {
                attributes.set(nodes, &names, files)
            })
        }
        NodeCommand::Rm(rm) => {
            let files = &rm.change.files;
            let nodes = nodes(&files.config)?;
            let names = some_names(&rm.range.range, files, &nodes)?;
            change(&rm.change, &names, |nodes| Ok(plan::remove(nodes, &names)))
        }
        NodeCommand::List(list) => list::run(list),
        NodeCommand::Prune(prune) => {
            let names = prune::names(prune)?;
            change(&prune.change, &names, |nodes| {
                Ok(plan::remove(nodes, &names))
            })
        }
    }
}

/// The nodes as they are.
fn nodes(config: &Path) -> Result<Nodes, CfgError> {
    let bytes = cfg::read(config)?;
    Ok(Nodes {
        records: raw_records(&bytes).0.to_vec(),
        disabled: Disabled::read(config)?,
    })
}

/// The same; a file that is missing is to be made.
fn nodes_or_none(files: &FileArgs) -> Result<Nodes, CfgError> {
    match nodes(&files.config) {
        Err(CfgError::File(FileError::Missing(_))) => Ok(Nodes {
            records: Vec::new(),
            disabled: Disabled::read(&files.config)?,
        }),
        nodes => nodes,
    }
}

/// The names of a noderange. The known ones, for regular expressions, are those of `nodes`.
fn names(range: &str, files: &FileArgs, nodes: &Nodes) -> Result<Vec<String>> {
    let context = noderange::Context {
        known: &nodes.names(),
        groups: &groups(files.groups.as_deref())?,
        read: &|path| text(path).map_err(|error| error.to_string()),
    };
    let mut names = noderange::expand(range, &context)?;
    // To noderanges, names that differ in case are different.
    let mut seen = HashSet::with_capacity(names.len());
    names.retain(|name| seen.insert(name.to_ascii_lowercase()));
    Ok(names)
}

/// The same, for commands that are to change something.
fn some_names(range: &str, files: &FileArgs, nodes: &Nodes) -> Result<Vec<String>> {
    let names = names(range, files, nodes)?;
    if names.is_empty() {
        bail!("the noderange {range} has no nodes");
    }
    Ok(names)
}

fn groups(path: Option<&Path>) -> Result<Groups> {
    let file = path.unwrap_or(Path::new(DEFAULT_GROUPS));
    let shown = file.display().to_string();
    match text(file) {
        Err(FileError::Missing(_)) if path.is_none() => Ok(Groups::none(&shown)),
        Err(FileError::Missing(_)) => bail!("{shown}: no such file; check --groups"),
        text => Ok(Groups::parse(&shown, &text?)?),
    }
}

fn text(path: &Path) -> Result<String, FileError> {
    let bytes = file::read(path, |_| true)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Changes the nodes as `plan` says, tells what has changed, and has the daemon read it.
fn change(
    args: &ChangeArgs,
    names: &[String],
    plan: impl FnOnce(&mut Nodes) -> Result<Report>,
) -> Result<ExitCode> {
    let config = &args.files.config;
    if args.dry_run {
        let report = plan(&mut nodes_or_none(&args.files)?)?;
        print(&format!("{report}; dry run, nothing is written"));
        return Ok(ExitCode::SUCCESS);
    }
    let (report, none_left) = edit(config, |records: &mut Vec<RawRecord>| {
        let mut nodes = Nodes {
            records: std::mem::take(records),
            disabled: Disabled::read(config)?,
        };
        let report = plan(&mut nodes)?;
        // Within the lock on proxydhcp.cfg.
        nodes.disabled.write(config)?;
        let none_left = nodes.has_none_to_serve();
        *records = nodes.records;
        Ok((report, none_left))
    })?;
    print(&report.to_string());
    if report.is_change() {
        reload(args, names, none_left)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the daemon read the files, and tells what of these nodes it cannot serve.
fn reload(args: &ChangeArgs, names: &[String], none_left: bool) -> Result<()> {
    let request = Request::Reload {
        // That no node is left is what was asked for.
        allow_empty: none_left,
    };
    let reloaded = match ask(&args.files.control.socket, &request) {
        Ok(Reply::Reloaded(reloaded)) => reloaded,
        Ok(Reply::Rejected(reason)) => {
            bail!("written, but the daemon keeps what it had: {reason}")
        }
        Ok(Reply::Status(_) | Reply::Looked(_)) => {
            bail!("written, but the daemon is of another version")
        }
        Err(error) if error.is::<NoDaemon>() => {
            eprintln!("proxydhcp: written, to be served when a daemon starts: {error}");
            return Ok(());
        }
        Err(error) => return Err(error).context("written, but the daemon was not told"),
    };
    let names: HashSet<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let problems = reloaded
        .names
        .only(|name| names.contains(&name.to_ascii_lowercase()));
    eprint!("{problems}");
    print(&format!(
        "in service: generation {}, {} addresses",
        reloaded.generation, reloaded.nodes
    ));
    Ok(())
}
