//! The nodes and WinPEs that there are, by the files that the command line so far and the settings
//! name.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::engine::ArgValueCompleter;

use super::{last_of_list, offer};
use crate::cli::args::{CONFIG, TFTP_ROOT};
use crate::cli::serve::ServeArgs;
use crate::cli::settings::SettingsFile;
use crate::nodes::selection::Nodes;
use crate::text::printable;

/// The attributes of `node set`.
const ATTRIBUTES: [&str; 5] = [
    "winpepath=",
    "supportproxydhcp=yes",
    "supportproxydhcp=no",
    "mac=",
    "uuid=",
];

/// Offers the nodes of proxydhcp.cfg; in a list, for its last part.
pub(in crate::cli) fn nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let nodes = Nodes::read(&named("config", CONFIG)).ok();
        let records = nodes.iter().flat_map(|nodes| &nodes.records);
        last_of_list(current, records.map(|record| printable(record.name())))
    })
}

/// Offers the names of the WinPEs.
pub(in crate::cli) fn winpes() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| offer(current, "", winpe_names().into_iter()))
}

/// Offers what `node set` sets.
pub(in crate::cli) fn attributes() -> ArgValueCompleter {
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
