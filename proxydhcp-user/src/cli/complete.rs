//! What shells offer for the values of arguments: the interfaces, nodes and WinPEs that there are.
//!
//! A completion must not print errors: what cannot be read is not offered.

use std::ffi::OsStr;
use std::fs;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

pub(super) mod files;

/// Offers the interfaces of this host; in a list, for its last part.
pub(super) fn interfaces() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        // Unlike /sys/class/net, it is of this network namespace, whatever is mounted.
        let table = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        let names = table.lines().filter_map(|line| line.split_once(':'));
        let names = names.map(|(name, _)| name.trim().to_owned());
        last_of_list(current, names.filter(|name| name != "lo"))
    })
}

/// Offers names for what stands behind the last comma.
fn last_of_list(current: &OsStr, names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let current = current.to_str().unwrap_or_default();
    let (before, last) = current.split_at(current.rfind(',').map_or(0, |comma| comma + 1));
    offer(OsStr::new(last), before, names)
}

/// Those of the `values` that begin with `current`, each behind `before`.
fn offer(
    current: &OsStr,
    before: &str,
    values: impl Iterator<Item = String>,
) -> Vec<CompletionCandidate> {
    let current = current.to_str().unwrap_or_default();
    let values = values.filter(|value| value.starts_with(current));
    values
        .map(|value| CompletionCandidate::new(format!("{before}{value}")))
        .collect()
}
