//! `proxydhcp xcat status`: whether what xCAT starts, signals and writes is what runs and is served.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use super::plan::Plan;
use super::{TabdumpArgs, read_config};
use crate::api::client::{NoDaemon, brief_status};
use crate::api::status::{Problems, Status};
use crate::api::xcat::{NAME, PID_FILE, PROGRAM};
use crate::cli::Context;
use crate::cli::args::{ConfigArgs, ControlArgs};
use crate::cli::output::print;
use crate::cli::status::what_is_left;
use crate::nodes::cfg::RECORD;
use crate::text::count;

/// How xCAT starts the daemon anew. Its own Perl daemon ends only when xcatd does.
const RESTART: &str = "systemctl restart xcatd";

/// Arguments of `xcat status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub tabdump: TabdumpArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    sound: bool,
    /// What was found, with the remedy if it is not sound.
    found: String,
}

/// What was found: as an error if it is not sound.
type Found = Result<String, String>;

/// Prints what was found, a line for each check.
///
/// # Errors
/// If the result cannot be printed as JSON.
pub(super) fn run(args: &StatusArgs, context: &Context) -> Result<ExitCode> {
    let status = brief_status(&args.control.socket);
    let daemon = status.as_ref().ok();
    let checks = [
        ("link", link()),
        ("daemon", process(&status)),
        ("pid file", pid_file(daemon)),
        ("records", records(args, daemon)),
        ("tables", tables(args, context)),
    ]
    .map(|(what, found)| Check {
        what,
        sound: found.is_ok(),
        found: found.unwrap_or_else(|found| found),
    });
    if args.json {
        print(&serde_json::to_string_pretty(&checks)?);
    } else {
        for Check { what, sound, found } in &checks {
            let mark = if *sound { "ok" } else { "WRONG" };
            print(&format!("{what:8}  {mark:5}  {found}"));
        }
    }
    let all_sound = checks.iter().all(|check| check.sound);
    Ok(if all_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether xCAT starts this program.
fn link() -> Found {
    let set = format!("ln -sf /usr/sbin/proxydhcp {PROGRAM} && {RESTART}");
    let Ok(program) = fs::metadata(PROGRAM) else {
        return Err(format!("there is no {PROGRAM}; {set}"));
    };
    let own = fs::metadata("/proc/self/exe").map(|own| (own.dev(), own.ino()));
    if own.is_ok_and(|own| own == (program.dev(), program.ino())) {
        return Ok(format!("{PROGRAM} is this program"));
    }
    let start = fs::read(PROGRAM).unwrap_or_default();
    let is = if start.starts_with(b"#!") {
        "xCAT's own daemon, as after an update of xCAT"
    } else {
        "another program"
    };
    Err(format!("{PROGRAM} is {is}; {set}"))
}

/// Whether the daemon runs, by the name that xCAT knows, and is the only one.
fn process(status: &Result<Status<Problems>>) -> Found {
    let status = match status {
        Ok(status) => status,
        Err(error) if error.is::<NoDaemon>() => {
            let left = what_is_left().map_or_else(String::new, |left| format!("; {left}"));
            return Err(format!("no daemon runs; {RESTART} starts it{left}"));
        }
        Err(error) => return Err(format!("{error:#}")),
    };
    let pid = status.pid;
    let named = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if named(pid).trim_end() != NAME {
        return Err(format!(
            "process {pid} was started as `proxydhcp serve`, and xCAT does not find it; stop it, \
             and {RESTART}"
        ));
    }
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others: Vec<String> = pids
        .filter(|&other| other != pid && named(other).trim_end() == NAME)
        .map(|other: u32| other.to_string())
        .collect();
    if !others.is_empty() {
        return Err(format!(
            "beside process {pid} there is {NAME} {}; kill -9 {}",
            others.join(", "),
            others.join(" ")
        ));
    }
    Ok(format!("process {pid}, version {}", status.version))
}

/// Whether the pid file names the daemon, so that nodeset and xcatd reach it.
fn pid_file(daemon: Option<&Status<Problems>>) -> Found {
    let text = fs::read_to_string(PID_FILE);
    let pid = text.ok().and_then(|text| text.parse::<u32>().ok());
    let unreached = "nodeset and xcatd do not reach the daemon";
    match (pid, daemon) {
        (None, None) => Ok(format!("no {PID_FILE}, as no daemon runs")),
        (None, Some(_)) => Err(format!("no {PID_FILE}, so {unreached}; {RESTART}")),
        (Some(pid), Some(daemon)) if pid == daemon.pid => Ok(format!("{PID_FILE} names it")),
        (Some(pid), _) => Err(format!(
            "{PID_FILE} names process {pid}, so {unreached}; {RESTART}"
        )),
    }
}

/// Whether the daemon serves the file that nodeset writes, as it is now.
fn records(args: &StatusArgs, daemon: Option<&Status<Problems>>) -> Found {
    let config = &args.config.config;
    let bytes = read_config(config).map_err(|error| format!("{error:#}"))?;
    let (number, rest) = (bytes.len() / RECORD, bytes.len() % RECORD);
    let shown = config.display();
    if rest > 0 {
        return Err(format!(
            "{shown} ends within a record; proxydhcp xcat sync writes it anew"
        ));
    }
    let Some(daemon) = daemon else {
        return Ok(format!("{shown} has {}", count(number, "record")));
    };
    if !is_same(&daemon.config, config) {
        return Err(format!(
            "the daemon serves {} instead of {shown}; correct /etc/proxydhcp.toml, and {RESTART}",
            daemon.config.display()
        ));
    }
    if let Some(rejected) = &daemon.rejected {
        return Err(format!("the file is not in service: {rejected}"));
    }
    if daemon.records != number {
        return Err(format!(
            "{shown} has {}, and the daemon has read {}; proxydhcp reload",
            count(number, "record"),
            daemon.records
        ));
    }
    let nodes = count(daemon.nodes, "node");
    Ok(format!(
        "{nodes} served from the {} of {shown}",
        count(number, "record")
    ))
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || fs::canonicalize(one).ok() == fs::canonicalize(other).ok()
}

/// Whether the file is what xCAT's tables say.
fn tables(args: &StatusArgs, context: &Context) -> Found {
    let compare = || {
        let rules = context.rules(&args.config.root);
        let (_, wanted) = args.tabdump.read(rules)?;
        let bytes = read_config(&args.config.config)?;
        let plan = Plan::new(&bytes, &wanted, rules);
        anyhow::Ok((plan, wanted))
    };
    let compared = compare().context("the file cannot be compared with xCAT's tables");
    let (plan, wanted) = compared.map_err(|error| format!("{error:#}"))?;
    let summary = plan.summary();
    if plan.is_change() {
        return Err(format!(
            "the file differs from xCAT's tables: {summary}; proxydhcp xcat sync"
        ));
    }
    if let Some((node, fault)) = wanted.faults.first() {
        let nodes = count(wanted.faults.len(), "node");
        return Err(format!("{nodes} cannot be judged: {node}: {fault}"));
    }
    Ok(format!("the file is what xCAT's tables say: {summary}"))
}
