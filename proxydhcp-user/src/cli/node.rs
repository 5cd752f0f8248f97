//! `proxydhcp node`: the operator's commands for nodes.
//!
//! They change `proxydhcp.cfg`, and the file of disabled nodes beside it, in one go each and under
//! one lock, and then tell the daemon to read them.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Context;
use crate::cli::output::print;
use crate::cli::take_up::{Of, take_up};
use crate::nodes::cfg::disabled::Disabled;
use crate::nodes::cfg::edit::{RawRecord, edit};
use crate::nodes::selection::Nodes;

mod args;
mod list;
mod plan;
mod prune;
mod report;

pub(super) use args::{HELP, NodeArgs};

use args::{ChangeArgs, NodeCommand};
use plan::Attributes;
use report::Report;

/// Runs a command.
///
/// # Errors
/// Its arguments, or a file, are wrong; then nothing is changed. The daemon rejects what was
/// written.
pub(super) fn run(args: &NodeArgs, context: &Context) -> Result<ExitCode> {
    match &args.command {
        NodeCommand::Set(set) => {
            let files = &set.change.files;
            let rules = context.rules(&files.config.root);
            let attributes = Attributes::parse(&set.attributes, rules)?;
            let nodes = Nodes::read_if_there(&files.config.config)?;
            let names = nodes.some_of_range(&set.range.range, files.groups.file())?;
            change(&set.change, &names, |nodes| {
                attributes.set(nodes, &names, rules)
            })
        }
        NodeCommand::Rm(rm) => {
            let files = &rm.change.files;
            let nodes = Nodes::read(&files.config.config)?;
            let names = nodes.some_of_range(&rm.range.range, files.groups.file())?;
            change(&rm.change, &names, |nodes| Ok(plan::remove(nodes, &names)))
        }
        NodeCommand::List(list) => list::run(list, context),
        NodeCommand::Prune(prune) => {
            let names = prune::names(prune, context)?;
            change(&prune.change, &names, |nodes| {
                Ok(plan::remove(nodes, &names))
            })
        }
    }
}

/// Changes the nodes as `plan` says, tells what has changed, and has the daemon read it.
fn change(
    args: &ChangeArgs,
    names: &[String],
    plan: impl FnOnce(&mut Nodes) -> Result<Report>,
) -> Result<ExitCode> {
    let config = &args.files.config.config;
    if args.dry_run {
        let report = plan(&mut Nodes::read_if_there(config)?)?;
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
        // That no node is left is what was asked for.
        take_up(
            &args.files.control.socket,
            config,
            none_left,
            Of::These(names),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
