//! `proxydhcp nodes`.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use crate::api::activity::{NodeActivity, State, StrangerActivity};
use crate::api::client;
use crate::api::status::age;
use crate::cli::followed::{FollowedArgs, time};
use crate::cli::output::{note, page, print};
use crate::text::{count, listed};
use crate::winpe::architecture::Architecture;

/// Arguments of `nodes`.
#[derive(Clone, Debug, Args)]
pub struct NodesArgs {
    /// Show only nodes that have not asked for this long, such as 10m, or never
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub silent: Option<Duration>,
    /// Show only nodes that have asked within this time
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "silent")]
    pub since: Option<Duration>,
    /// Show only nodes in this state; may be repeated
    #[arg(long = "state", value_enum, value_name = "STATE")]
    pub states: Vec<State>,
    /// The order [default: that of the range, or of proxydhcp.cfg]
    #[arg(long, value_enum, value_name = "BY")]
    pub sort: Option<Sort>,
    /// Print at most this many nodes
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Show the last clients that are no node instead, and why they got no answer
    #[arg(long, conflicts_with_all = ["range", "silent", "since", "states", "sort"])]
    pub strangers: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub of: FollowedArgs,
}

/// What nodes are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// By name
    Name,
    /// By their first address
    Address,
    /// Those that have asked last come first
    Last,
    /// Those that ask most come first
    Requests,
    /// By how far they are, the least first
    State,
}

impl ValueEnum for State {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// Prints what the nodes have done.
///
/// # Errors
///
/// If no daemon can be reached, or the range is wrong.
pub(super) fn run(args: &NodesArgs) -> Result<ExitCode> {
    if args.strangers {
        return strangers(args);
    }
    let (mut found, absent) = args.of.chosen()?.ask()?;
    let now = found.now;
    found.nodes.retain(|node| args.shows(node, now));
    args.sort(&mut found.nodes);
    let total = found.nodes.len();
    found.nodes.truncate(args.limit.unwrap_or(total));
    if args.json {
        print(&serde_json::to_string_pretty(&found.nodes)?);
    } else {
        page(&table(&found.nodes, now));
    }
    if found.nodes.len() < total {
        note(&format!(
            "proxydhcp: shown: {} of {total}",
            found.nodes.len()
        ));
    }
    if found.not_followed > 0 {
        note(&format!(
            "proxydhcp: not followed, because there are too many nodes or WinPEs: {} of {}",
            found.not_followed,
            count(found.total, "node")
        ));
    }
    if absent.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    note(&format!(
        "proxydhcp: not served, so nothing is known of it: {}",
        listed(&absent)
    ));
    Ok(ExitCode::FAILURE)
}

impl NodesArgs {
    fn shows(&self, node: &NodeActivity, now: f64) -> bool {
        let ago = node.last.map(|last| now - last);
        let within = |time: Duration| ago.is_some_and(|ago| ago <= time.as_secs_f64());
        (self.states.is_empty() || self.states.contains(&node.state))
            && self.silent.is_none_or(|time| !within(time))
            && self.since.is_none_or(within)
    }

    fn sort(&self, nodes: &mut [NodeActivity]) {
        let last = |node: &NodeActivity| node.last.unwrap_or_default();
        match self.sort {
            None => {}
            Some(Sort::Name) => nodes.sort_by(|a, b| a.node.cmp(&b.node)),
            Some(Sort::Address) => nodes.sort_by_key(|node| node.addresses.first().copied()),
            Some(Sort::Last) => nodes.sort_by(|a, b| last(b).total_cmp(&last(a))),
            Some(Sort::Requests) => nodes.sort_by_key(|node| std::cmp::Reverse(node.requests)),
            Some(Sort::State) => {
                nodes.sort_by_key(|node| State::ALL.iter().position(|it| *it == node.state));
            }
        }
    }
}

fn table(nodes: &[NodeActivity], now: f64) -> String {
    let rows = nodes.iter().map(|node| row(node, now));
    aligned(
        [
            "NODE", "ADDRESS", "STATE", "ASKED", "ANSWERED", "REQUESTS", "LOADER", "HOW FAR",
        ],
        rows,
    )
}

fn row(node: &NodeActivity, now: f64) -> [String; 8] {
    let address = match node.addresses.as_slice() {
        [] => "-".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    };
    let requests = match (node.requests, node.tries) {
        (0, _) => "-".to_owned(),
        (all, tries) => format!("{all} ({tries} now)"),
    };
    let state = if node.followed {
        node.state.name()
    } else {
        "not followed"
    };
    [
        node.node.clone(),
        address,
        state.to_owned(),
        ago(node.last, now),
        ago(node.answered, now),
        requests,
        node.loader.clone().unwrap_or_else(|| arch(node.arch)),
        how_far(node),
    ]
}

fn arch(arch: Option<u8>) -> String {
    arch.map_or_else(
        || "-".to_owned(),
        |arch| Architecture(arch.into()).to_string(),
    )
}

/// What keeps it, or what it fetches.
pub(super) fn how_far(node: &NodeActivity) -> String {
    if let Some(transfer) = &node.transfer {
        let what = transfer.file.as_ref().unwrap_or(&transfer.kind);
        let bytes = transfer.bytes;
        return match transfer.size.filter(|size| *size > 0) {
            Some(size) => {
                let percent = bytes.saturating_mul(100) / size;
                format!("{what}: {percent} % of {size} bytes")
            }
            None => format!("{what}: {}, {bytes} bytes", transfer.state),
        };
    }
    node.reason.clone().unwrap_or_else(|| "-".to_owned())
}

/// How long ago that was.
pub(super) fn ago(time: Option<f64>, now: f64) -> String {
    time.map_or_else(
        || "never".to_owned(),
        |time| age(Duration::from_secs_f64((now - time).max(0.0))) + " ago",
    )
}

fn strangers(args: &NodesArgs) -> Result<ExitCode> {
    let mut found = client::strangers(&args.of.files.control.socket)?;
    let total = found.strangers.len();
    found.strangers.truncate(args.limit.unwrap_or(total));
    if args.json {
        print(&serde_json::to_string_pretty(&found.strangers)?);
    } else {
        let now = crate::sys::clock::since_1970();
        let rows = found.strangers.iter().map(|it| stranger(it, now));
        page(&aligned(
            ["ADDRESS", "MAC", "WHY", "ASKED", "REQUESTS"],
            rows,
        ));
    }
    if found.not_noted > 0 {
        note(&format!(
            "proxydhcp: requests of clients that are no node, that were too many to be noted: {}",
            found.not_noted
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn stranger(stranger: &StrangerActivity, now: f64) -> [String; 5] {
    [
        stranger.address.to_string(),
        stranger.mac.clone(),
        stranger.reason.clone(),
        ago(Some(stranger.last), now),
        stranger.requests.to_string(),
    ]
}

/// A table, whose columns are as wide as they need to be.
fn aligned<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(heads.map(str::to_owned))
        .chain(rows)
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(table, "{}", line.trim_end());
    }
    table
}
