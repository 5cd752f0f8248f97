//! What shells offer for the values of arguments: the interfaces, nodes and WinPEs that there are.
//!
//! A completion must not print errors: what cannot be read is not offered.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use crate::cli::args::{CONFIG, TFTP_ROOT};
use crate::cli::serve::ServeArgs;
use crate::cli::settings::SettingsFile;
use crate::nodes::selection::Nodes;
use crate::text::printable;

/// The attributes of `node set`.
const ATTRIBUTES: [&str; 3] = ["winpepath=", "supportproxydhcp=yes", "supportproxydhcp=no"];

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

/// Offers the nodes of proxydhcp.cfg; in a list, for its last part.
pub(super) fn nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let nodes = Nodes::read(&named("config", CONFIG)).ok();
        let records = nodes.iter().flat_map(|nodes| &nodes.records);
        last_of_list(current, records.map(|record| printable(record.name())))
    })
}

/// Offers the names of the WinPEs.
pub(super) fn winpes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| offer(current, "", winpe_names().into_iter()))
}

/// Offers what `node set` sets.
pub(super) fn attributes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let paths = winpe_names()
            .into_iter()
            .map(|name| format!("winboot/{name}"));
        // To bash, the equals sign ends a word.
        let before = env::args_os().rev().nth(1);
        if before.is_some_and(|before| before == "=") {
            return offer(current, "", paths);
        }
        match current.to_str().and_then(|current| current.split_once('=')) {
            Some(("winpepath", path)) => offer(OsStr::new(path), "winpepath=", paths),
            _ => offer(current, "", ATTRIBUTES.map(str::to_owned).into_iter()),
        }
    })
}

fn winpe_names() -> Vec<String> {
    let winboot = named("tftp-root", TFTP_ROOT).join("winboot");
    let entries = fs::read_dir(winboot).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
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

/// The path that an option has on the command line so far, in the settings file, or else by default.
fn named(option: &str, default: &str) -> PathBuf {
    let args: Vec<_> = env::args_os().collect();
    let given = |option: &str| {
        let at = args.iter().position(|arg| *arg == *format!("--{option}"))?;
        args.get(at + 1).map(PathBuf::from)
    };
    given(option)
        .or_else(|| {
            let serve = ServeArgs::augment_args(Command::new("serve"));
            let file = SettingsFile::read(given("settings").as_deref(), &serve).ok()?;
            file.value(option).map(PathBuf::from)
        })
        .unwrap_or_else(|| Path::new(default).to_owned())
}
