//! Names that nobody knows.

use std::time::{Duration, Instant};

use anyhow::Result;
use zerocopy::IntoBytes;

use crate::cli::args::NamesArgs;
use crate::cli::output::note;
use crate::cli::runtime::block_on;
use crate::names::ask::ask_for_all;
use crate::names::forward::Names;
use crate::names::hosts;
use crate::nodes::cfg;
use crate::nodes::cfg::edit::RawRecord;
use crate::tables::table::mentioned;
use crate::text::{SHOWN, and_more, count, listed};
use crate::winpe::path::Rules;

/// How long the resolver may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Reports which of these new nodes are neither in the hosts file nor known to the resolver: their names
/// may be misspelt. The resolver is asked for the first of many.
///
/// # Errors
///
/// If the resolver cannot be asked.
pub(super) fn tell(new: &[&String], args: &NamesArgs, rules: Rules<'_>) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let Ok(hosts) = hosts::read(&args.hosts) else {
        // Nobody knows, then.
        return Ok(());
    };
    let hosts = hosts.unwrap_or_default();
    let records = new.iter().map(|name| RawRecord::new(name, "", rules));
    // A name that makes no record is an error later on.
    let records: Vec<_> = records.filter_map(Result::ok).collect();
    let nodes = cfg::parse(records.as_bytes(), rules);
    let mentioned = mentioned(&nodes, &args.suffixes, &hosts);
    let names = nodes
        .records
        .iter()
        .zip(mentioned)
        .filter(|(_, mentioned)| !mentioned);
    let mut names: Vec<_> = names.map(|(record, _)| record.name.to_owned()).collect();
    let others = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let (unknown, _) = ask(names, LIMIT)?;
    if !unknown.is_empty() {
        note(&format!(
            "proxydhcp: {} that neither {} nor the resolver knows: {}{}; is there a mistake in the range?",
            count(unknown.len() + others, "new node"),
            args.hosts.display(),
            listed(&unknown),
            and_more(others),
        ));
    }
    Ok(())
}

/// Asks the resolver, for this long at most. Returns the names that it denies, in the order given, and those that it could
/// not be asked for.
pub(super) fn ask(wanted: Vec<String>, limit: Duration) -> Result<(Vec<String>, Vec<String>)> {
    let mut names = Names::default().of(wanted.iter().map(String::as_str), Instant::now());
    block_on(ask_for_all(&mut names, limit))?;
    let has_no_address = |name: &String| names.addresses(name).is_empty();
    // A name without an answer by now is not known to be gone.
    Ok(wanted
        .into_iter()
        .filter(has_no_address)
        .partition(|name| !names.is_open(name)))
}
