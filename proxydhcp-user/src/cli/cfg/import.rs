//! `proxydhcp cfg import`

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::api::control::Allowed;
use crate::cli::Context;
use crate::cli::args::{ConfigArgs, ControlArgs};
use crate::cli::cfg::changes::Changes;
use crate::cli::output::{note, print};
use crate::cli::take_up::{Of, take_up};
use crate::cli::winpe::warn;
use crate::nodes::cfg::edit::{RawRecord, edit, put, raw_records};
use crate::nodes::cfg::read_if_there;
use crate::sys::file::LIMIT;
use crate::sys::text_file::{self, plain};
use crate::text::{SHOWN, count, printable};
use crate::winpe::path::WinPe;

pub mod parse;

use parse::Line;

/// Arguments of `cfg import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The file of nodes; - is standard input
    #[arg(value_name = "FILE")]
    pub nodes: PathBuf,
    /// The file's format [default: from its extension, .csv or .json]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Remove all records of other nodes
    #[arg(long)]
    pub replace: bool,
    /// Show what would change, without writing it
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// The values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A node and its WinPE path on each line
    Csv,
    /// What `cfg dump --json` prints
    Json,
}

/// Imports the nodes of a file.
///
/// # Errors
/// If a line is bad, or a file cannot be read or written. Then nothing is written.
pub(super) fn import(args: &ImportArgs, context: &Context) -> Result<ExitCode> {
    let config = &args.config.config;
    let (text, name) = read(&args.nodes)?;
    let format = format(args)?;
    let rules = context.rules(&args.config.root);
    let lines = match format {
        Format::Csv => parse::csv(&text, rules),
        Format::Json => parse::json(&text, rules)
            .with_context(|| format!("{name}: not in the format of `proxydhcp cfg dump --json`"))?,
    };
    let records = sound(&lines, &name)?;
    if records.is_empty() {
        bail!("{name}: no nodes; nothing was changed");
    }
    let change = |now: &mut Vec<RawRecord>| {
        let before = now.clone();
        if args.replace {
            now.clone_from(&records);
        } else {
            put(now, &records);
        }
        Changes::new(&before, now)
    };
    let changes = if args.dry_run {
        let bytes = read_if_there(config)?;
        change(&mut raw_records(&bytes).0.to_vec())
    } else {
        args.config.make_default_folder()?;
        edit(config, |now| Ok(change(now)))?
    };
    if args.dry_run {
        for line in &changes.lines {
            print(line);
        }
    }
    print(&changes.summary());
    if args.dry_run {
        note("nothing was written");
    } else {
        take_up(&args.control.socket, config, Allowed::default(), Of::All)?;
    }
    let paths: BTreeSet<_> = records.iter().map(RawRecord::path).collect();
    // All of them are sound.
    let winpes = paths
        .into_iter()
        .filter_map(|path| WinPe::parse(path, rules).ok());
    let winpes: HashSet<_> = winpes.collect();
    warn(&winpes, rules);
    Ok(ExitCode::SUCCESS)
}

fn format(args: &ImportArgs) -> Result<Format> {
    let by_name = || match args.nodes.extension().and_then(OsStr::to_str) {
        Some(end) if end.eq_ignore_ascii_case("csv") => Some(Format::Csv),
        Some(end) if end.eq_ignore_ascii_case("json") => Some(Format::Json),
        _ => None,
    };
    args.format.or_else(by_name).with_context(|| {
        format!(
            "{}: name the format with --format csv or --format json",
            args.nodes.display()
        )
    })
}

/// The file's bytes, and its name in messages.
fn read(path: &Path) -> Result<(Vec<u8>, String)> {
    if path != Path::new("-") {
        return Ok((text_file::read(path)?, path.display().to_string()));
    }
    let mut text = Vec::new();
    io::stdin()
        .take(LIMIT.saturating_add(1))
        .read_to_end(&mut text)
        .context("cannot read the standard input")?;
    if u64::try_from(text.len()).is_ok_and(|size| size > LIMIT) {
        bail!("the standard input has more than the {LIMIT} bytes that are read");
    }
    let name = "standard input";
    Ok((plain(text, Path::new(name))?, name.to_owned()))
}

/// The records of all lines, if all lines are good.
fn sound(lines: &[Line], name: &str) -> Result<Vec<RawRecord>> {
    let mut records = Vec::with_capacity(lines.len());
    let mut bad = Vec::new();
    for Line { number, record } in lines {
        match record {
            Ok(record) => records.push(*record),
            Err(reason) => bad.push(format!("{name}:{number}: {reason}")),
        }
    }
    if bad.is_empty() {
        tell_of_doubles(lines, name);
        return Ok(records);
    }
    let more = bad.len().saturating_sub(SHOWN);
    bad.truncate(SHOWN);
    if more > 0 {
        bad.push(format!("and {}", count(more, "more bad line")));
    }
    bail!(
        "nothing was written, because some lines are bad:\n{}",
        bad.join("\n")
    );
}

/// Reports names on several lines. The last of a node's lines counts, like the last of its records.
fn tell_of_doubles(lines: &[Line], name: &str) {
    let mut seen = HashMap::with_capacity(lines.len());
    for Line { number, record } in lines {
        let Ok(record) = record else { continue };
        let node = record.name().to_ascii_lowercase();
        if let Some(earlier) = seen.insert(node, number) {
            note(&format!(
                "{name}:{number}: {} is on line {earlier} too; this one counts",
                printable(record.name())
            ));
        }
    }
}
