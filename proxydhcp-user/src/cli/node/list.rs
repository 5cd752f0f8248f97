//! `proxydhcp node list`.

use std::collections::HashMap;
use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::args::ListArgs;
use crate::cli::Context;
use crate::cli::fleet;
use crate::cli::output::{note, page, print};
use crate::nodes::cfg::edit::RawRecord;
use crate::nodes::cfg::{self, Refused};
use crate::nodes::selection::Nodes;
use crate::text::{listed, printable};
use crate::winpe::path::Rules;

/// A row of the list.
#[derive(Debug, Serialize)]
struct Row {
    node: String,
    /// The path in the record; `None` without a record.
    winpepath: Option<String>,
    supportproxydhcp: bool,
    /// What it is known by besides its addresses, by proxydhcp.cfg.hardware.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hardware: Vec<String>,
    /// Why the record is not served, if it is refused.
    refused: Option<String>,
}

pub(super) fn run(args: &ListArgs, context: &Context) -> Result<ExitCode> {
    let files = &args.files;
    let rules = context.rules(&files.config.root);
    let nodes = match args.source.access() {
        Some(access) => fleet::nodes(access, rules)?,
        None => Nodes::read(&files.config.config)?,
    };
    let names = match &args.range {
        Some(range) => Some(nodes.of_range(range, files.groups.file())?),
        None => None,
    };
    let (mut rows, absent) = rows(&nodes, names, rules);
    let total = rows.len();
    rows.truncate(args.limit.unwrap_or(total));
    if args.json {
        print(&serde_json::to_string_pretty(&rows)?);
    } else {
        page(&table(&rows));
    }
    if rows.len() < total {
        note(&format!("proxydhcp: shown: {} of {total}", rows.len()));
    }
    if absent.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    note(&format!("proxydhcp: no such node: {}", listed(&absent)));
    Ok(ExitCode::FAILURE)
}

/// The rows of the nodes with these names, or of all nodes, and the names that belong to no node.
fn rows(nodes: &Nodes, names: Option<Vec<String>>, rules: Rules<'_>) -> (Vec<Row>, Vec<String>) {
    let refused = refused(nodes, rules);
    let known = nodes.hardware.by_name();
    let hardware = |name: &str| {
        let ids = known.get(&name.to_ascii_lowercase());
        ids.into_iter().flatten().map(ToString::to_string).collect()
    };
    let row = |name: &str, record: Option<(usize, &RawRecord)>| Row {
        node: name.to_owned(),
        winpepath: record.map(|(_, record)| printable(record.path())),
        supportproxydhcp: !nodes.disabled.contains(name),
        hardware: hardware(name),
        refused: record.and_then(|(at, _)| refused.get(&at).cloned()),
    };
    let text = |record: &RawRecord| printable(record.name());
    // The last record of a name is the one in service.
    let last: HashMap<_, _> = nodes
        .records
        .iter()
        .enumerate()
        .map(|(at, record)| (text(record).to_ascii_lowercase(), (at, record)))
        .collect();
    let record = |name: &str| last.get(&name.to_ascii_lowercase()).copied();
    let Some(names) = names else {
        let is_served = |&(at, record): &(usize, &RawRecord)| {
            let name = text(record).to_ascii_lowercase();
            last.get(&name).is_some_and(|(last, _)| *last == at)
        };
        let recorded = nodes.records.iter().enumerate().filter(is_served);
        let rows = recorded.map(|(at, record)| row(&text(record), Some((at, record))));
        let others = nodes.disabled.names().filter(|name| record(name).is_none());
        return (
            rows.chain(others.map(|name| row(name, None))).collect(),
            Vec::new(),
        );
    };
    let (mut rows, mut absent) = (Vec::new(), Vec::new());
    for name in names {
        match record(&name) {
            Some((at, record)) => rows.push(row(&text(record), Some((at, record)))),
            None if nodes.disabled.contains(&name) => rows.push(row(&name, None)),
            None => absent.push(name),
        }
    }
    (rows, absent)
}

/// The reasons why records are refused, by their positions.
fn refused(nodes: &Nodes, rules: Rules<'_>) -> HashMap<usize, String> {
    let bytes = nodes.bytes();
    let parsed = cfg::parse(bytes, rules);
    let at = |refused: Refused| (refused.number as usize - 1, refused.reason);
    parsed.refused.into_iter().map(at).collect()
}

fn table(rows: &[Row]) -> String {
    const HEADS: [&str; 3] = ["NODE", "SUPPORTPROXYDHCP", "WINPEPATH"];
    let lengths = rows.iter().map(|row| row.node.chars().count());
    let width = lengths.max().unwrap_or_default().max(HEADS[0].len());
    let [node, support, path] = HEADS;
    let mut table = format!("{node:width$}  {support}  {path}\n");
    for row in rows {
        let supported = if row.supportproxydhcp { "yes" } else { "no" };
        let path = match &row.winpepath {
            Some(path) if path.is_empty() => "(default)".to_owned(),
            Some(path) => path.clone(),
            None => "(no record)".to_owned(),
        };
        let refused = match &row.refused {
            Some(reason) => format!("  REFUSED: {reason}"),
            None => String::new(),
        };
        let node = &row.node;
        let known = match row.hardware.as_slice() {
            [] => String::new(),
            known => format!("  ({})", known.join(", ")),
        };
        let _ = writeln!(
            table,
            "{node:width$}  {supported:16}  {path}{known}{refused}"
        );
    }
    table
}
