//! `proxydhcp node`: the operator's commands for nodes.
//!
//! The commands change `proxydhcp.cfg` and the files of disabled nodes and of hardware addresses beside
//! it, each in one step and all under one lock, and then make the daemon read them.

use std::process::ExitCode;

use anyhow::{Result, bail};
use zerocopy::IntoBytes;

use crate::api::control::Allowed;
use crate::cli::Context;
use crate::cli::fleet;
use crate::cli::output::{note, print};
use crate::cli::take_up::{Of, take_up};
use crate::cli::winpe::warn;
use crate::nodes::cfg;
use crate::nodes::cfg::disabled::Disabled;
use crate::nodes::cfg::edit::{RawRecord, edit};
use crate::nodes::cfg::hardware::HardwareFile;
use crate::nodes::selection::Nodes;
use crate::text::listed;
use crate::winpe::path::Rules;

mod args;
mod list;
mod plan;
mod prune;
mod report;
mod unknown;

pub(super) use args::{HELP, NodeArgs};

use args::{ChangeArgs, NodeCommand};
use plan::Attributes;
use report::Report;

/// Runs a command.
///
/// # Errors
/// If its arguments or a file are wrong; then nothing is changed. If the daemon rejects what was
/// written.
pub(super) fn run(args: &NodeArgs, context: &Context) -> Result<ExitCode> {
    match &args.command {
        NodeCommand::Set(set) => {
            let files = &set.change.files;
            let rules = context.rules(&files.config.root);
            let attributes = Attributes::parse(&set.attributes, rules)?;
            let nodes = match set.change.source.access() {
                Some(access) => fleet::nodes(access, rules)?,
                None => Nodes::read_if_there(&files.config.config)?,
            };
            let names = nodes.some_of_range(&set.range.range, files.groups.file())?;
            // One that is known by its hardware needs no name that others know.
            if !attributes.identify() {
                unknown::tell(&nodes.without(&names), &set.names, rules)?;
            }
            let code = change(&set.change, &names, rules, |nodes| {
                attributes.set(nodes, &names, rules)
            })?;
            warn(attributes.winpe(), rules);
            Ok(code)
        }
        NodeCommand::Rm(rm) => {
            let files = &rm.change.files;
            let rules = context.rules(&files.config.root);
            let nodes = match rm.change.source.access() {
                Some(access) => fleet::nodes(access, rules)?,
                None => Nodes::read(&files.config.config)?,
            };
            let names = nodes.some_of_range(&rm.range.range, files.groups.file())?;
            change(&rm.change, &names, rules, |nodes| {
                Ok(plan::remove(nodes, &names))
            })
        }
        NodeCommand::List(list) => list::run(list, context),
        NodeCommand::Prune(prune) => {
            if prune.change.source.source.is_some() {
                bail!(
                    "prune goes by a file: `proxydhcp fleet pull` writes one; prune that by --config, and \
                     push it"
                );
            }
            let names = prune::names(prune, context)?;
            let rules = context.rules(&prune.change.files.config.root);
            change(&prune.change, &names, rules, |nodes| {
                Ok(plan::remove(nodes, &names))
            })
        }
    }
}

/// Changes the nodes as `plan` does, reports the changes, and makes the daemon read them.
fn change(
    args: &ChangeArgs,
    names: &[String],
    rules: Rules<'_>,
    plan: impl Fn(&mut Nodes) -> Result<Report>,
) -> Result<ExitCode> {
    if let Some(access) = args.source.access() {
        let what = format!("node: {}", listed(names));
        let (report, written) = fleet::edit(access, rules, args.dry_run, &what, plan)?;
        print(&format!("{report}{}", fleet::in_force(written)));
        return Ok(exit_code(&report));
    }
    let config = &args.files.config.config;
    if args.dry_run {
        let report = plan(&mut Nodes::read_if_there(config)?)?;
        print(&format!("{report}; dry run, nothing is written"));
        return Ok(exit_code(&report));
    }
    args.files.config.make_default_folder()?;
    let (report, none_left) = edit(config, |records: &mut Vec<RawRecord>| {
        let mut nodes = Nodes {
            disabled: Disabled::read(config, || cfg::names(records.as_bytes()))?,
            hardware: HardwareFile::read(config)?,
            records: std::mem::take(records),
            groups: None,
        };
        let report = plan(&mut nodes)?;
        // All files change while the lock on proxydhcp.cfg is held.
        nodes.disabled.write(config)?;
        nodes.hardware.write(config)?;
        let none_left = nodes.has_none_to_serve();
        *records = nodes.records;
        Ok((report, none_left))
    })?;
    print(&report.to_string());
    if report.is_change() {
        // If no node is left, that is what the user asked for.
        take_up(
            &args.files.control.socket,
            config,
            Allowed {
                empty: none_left,
                ..Allowed::default()
            },
            Of::These(names),
        )?;
    }
    Ok(exit_code(&report))
}

/// Failure if nodes to remove do not exist; stderr names them.
fn exit_code(report: &Report) -> ExitCode {
    if report.absent.is_empty() {
        return ExitCode::SUCCESS;
    }
    note(&format!(
        "proxydhcp: no such node: {}",
        listed(&report.absent)
    ));
    ExitCode::FAILURE
}
