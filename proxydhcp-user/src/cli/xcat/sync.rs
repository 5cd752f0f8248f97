//! `proxydhcp xcat sync`: makes `proxydhcp.cfg` from xCAT's tables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::plan::Plan;
use super::{TabdumpArgs, read_config};
use crate::api::control::Allowed;
use crate::cli::Context;
use crate::cli::args::{ConfigArgs, ControlArgs, percent};
use crate::cli::output::{note, print};
use crate::cli::take_up::{Of, take_up};
use crate::nodes::cfg;
use crate::nodes::cfg::disabled::Disabled;
use crate::nodes::xcat::addresses::hosts;
use crate::nodes::xcat::records::Wanted;
use crate::sys::replace::{Lasting, Replacement, write};
use crate::sys::text_file;
use crate::text::{count, listed};

/// How often the tables are read anew because nodeset has written meanwhile.
const TRIES: usize = 10;

/// Arguments of `xcat sync`.
#[derive(Clone, Debug, Args)]
pub struct SyncArgs {
    /// Show what would change, without writing it
    #[arg(long)]
    pub dry_run: bool,
    /// Show what differs, without writing it, and exit with 1 if anything does
    #[arg(long, conflicts_with = "dry_run")]
    pub check: bool,
    /// Write the addresses of these nodes into this hosts file, too
    #[arg(long, value_name = "FILE")]
    pub write_hosts: Option<PathBuf>,
    /// Write nothing if more than this share of the records would go, in percent
    #[arg(id = "allow-record-loss", long = "allow-loss", value_name = "PERCENT", default_value_t = 50, value_parser = percent())]
    pub allow_loss: u16,
    /// Wait until nodeset has left the file alone for this long, in seconds
    ///
    /// nodeset writes the file first and the tables afterwards.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub settle: u64,
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

/// Brings the file in line with xCAT's tables.
///
/// # Errors
/// If the tables cannot be read or too many records would go; then nothing is written. If a file
/// cannot be written, or the daemon rejects it.
pub(super) fn run(args: &SyncArgs, context: &Context) -> Result<ExitCode> {
    let config = &args.config.config;
    let writes = !args.dry_run && !args.check;
    let (wanted, addresses) = tables(args, context, writes)?;
    let replacement = writes.then(|| Replacement::begin(config)).transpose()?;
    let bytes = read_config(config)?;
    let plan = Plan::new(&bytes, &wanted, context.rules(&args.config.root));
    print(&plan.to_string());
    for (node, fault) in &wanted.faults {
        note(&format!("{node} keeps the record it has: {fault}"));
    }
    plan.check_loss(args.allow_loss)?;
    let mut disabled = Disabled::read(config, || cfg::names(plan.bytes()))?;
    disabled.add(wanted.refusing.iter().map(String::as_str));
    disabled.remove(wanted.supporting.iter().map(String::as_str));
    let hosts = addresses.as_ref().filter(|(path, text)| {
        let now = text_file::read_if_there(path).ok().flatten();
        now.as_deref() != Some(text.as_bytes())
    });
    let is_change = plan.is_change() || disabled.is_changed() || hosts.is_some();
    let Some(replacement) = replacement else {
        note("nothing was written");
        return Ok(if args.check && is_change {
            ExitCode::FAILURE
        } else {
            exit_code(&wanted)
        });
    };
    if let Some((path, text)) = hosts {
        write(path, text.as_bytes(), Lasting::Yes)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    disabled.write(config)?;
    if plan.is_change() {
        replacement.replace(plan.bytes())?;
    }
    drop(replacement);
    if is_change {
        let allowed = Allowed {
            empty: plan.is_empty(),
            ..Allowed::default()
        };
        take_up(&args.control.socket, config, allowed, Of::All)?;
    }
    Ok(exit_code(&wanted))
}

/// What xCAT's tables ask for, and the hosts file to write.
fn tables(
    args: &SyncArgs,
    context: &Context,
    settle: bool,
) -> Result<(Wanted, Option<(PathBuf, String)>)> {
    let config = &args.config.config;
    for _ in 0..TRIES {
        if settle {
            wait_for_nodeset(config, Duration::from_secs(args.settle));
        }
        let before = modified(config);
        let rules = context.rules(&args.config.root);
        let read = args.tabdump.read(rules);
        let (site, wanted) = read.context("nothing was written")?;
        if modified(config) != before {
            continue;
        }
        let hosts = args.write_hosts.clone().map(|path| {
            let (text, without) = hosts(&site, &wanted.names);
            if !without.is_empty() {
                note(&format!(
                    "no address in xCAT's table hosts, so the resolver is asked: {}",
                    listed(&without)
                ));
            }
            (path, text)
        });
        return Ok((wanted, hosts));
    }
    bail!(
        "{}: changes each time that xCAT's tables are read; try again when nodeset is done",
        config.display()
    );
}

/// Waits until the file has not been written for this long.
fn wait_for_nodeset(config: &Path, settle: Duration) {
    while let Some(age) = modified(config).and_then(|at| SystemTime::now().duration_since(at).ok())
        && let Some(left) = settle.checked_sub(age).filter(|left| !left.is_zero())
    {
        note(&format!(
            "{} was written {:.0} s ago; waiting until nodeset is done",
            config.display(),
            age.as_secs_f64()
        ));
        thread::sleep(left);
    }
}

fn modified(config: &Path) -> Option<SystemTime> {
    fs::metadata(config).and_then(|file| file.modified()).ok()
}

fn exit_code(wanted: &Wanted) -> ExitCode {
    if wanted.faults.is_empty() {
        return ExitCode::SUCCESS;
    }
    note(&format!(
        "xCAT's tables contradict each other about {}",
        count(wanted.faults.len(), "node")
    ));
    ExitCode::from(2)
}
