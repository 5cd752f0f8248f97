//! `proxydhcp cfg check`

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::args::{ConfigArgs, NamesArgs, SettingsArgs};
use crate::cli::exit::Exit;
use crate::cli::output::{note, print};
use crate::cli::runtime::block_on;
use crate::names::ask::ask_for_all;
use crate::names::forward::{Failed, Names};
use crate::names::reverse::LookedUp;
use crate::nodes::cfg::salvage::salvage;
use crate::nodes::cfg::texts::Texts;
use crate::nodes::cfg::{self, RECORD, Records, read_damaged};
use crate::sys::privileges;
use crate::tables::table::{Files, LoadError, Table};
use crate::text::count;
use crate::winpe::check::fault;
use crate::winpe::path::Rules;

/// How long the resolver may take for all names together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `cfg check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub names: NamesArgs,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Severity {
    /// Something in the file is not served.
    Error,
    /// Something is served, but hardly as intended.
    Warning,
}

#[derive(Debug, Serialize)]
struct Finding {
    severity: Severity,
    /// The record's position in the file, from 1.
    record: Option<u32>,
    /// The byte in the file at which it begins.
    byte: Option<usize>,
    /// The name in the record, with unprintable characters escaped.
    node: Option<String>,
    /// What is wrong, and the remedy.
    message: String,
}

#[derive(Debug, Serialize)]
struct Report {
    config: String,
    records: usize,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

/// Checks the file and the names in it.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn check(args: &CheckArgs, context: &Context) -> Result<ExitCode> {
    privileges::read_as_the_daemon();
    let config = &args.config.config;
    let bytes = read_damaged(config)?;
    let mut findings = if bytes.len().is_multiple_of(RECORD) {
        records(&bytes, args, context)?
    } else {
        pieces(&bytes, context.rules(&args.config.root))
    };
    // Findings about no record come last.
    findings.sort_by_key(|finding| finding.byte.unwrap_or(usize::MAX));
    let number = |severity| {
        let of = findings
            .iter()
            .filter(|finding| finding.severity == severity);
        of.count()
    };
    let report = Report {
        config: config.display().to_string(),
        records: bytes.len() / RECORD,
        errors: number(Severity::Error),
        warnings: number(Severity::Warning),
        findings,
    };
    if args.json {
        print(&serde_json::to_string_pretty(&report)?);
    } else {
        for finding in &report.findings {
            print(&line(finding));
        }
        note(&format!(
            "{}: {}, {}, {}",
            report.config,
            count(report.records, "record"),
            count(report.errors, "error"),
            count(report.warnings, "warning")
        ));
    }
    Ok(match (report.errors, report.warnings) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => Exit::Partly.into(),
        _ => ExitCode::FAILURE,
    })
}

/// The findings in a file of whole records.
fn records(bytes: &[u8], args: &CheckArgs, context: &Context) -> Result<Vec<Finding>> {
    let sources = args.names.sources(&args.config, context);
    let texts = Texts::beside(bytes.to_vec(), &sources.config)?;
    let files = match Files::of(&texts, &sources) {
        Ok(files) => Arc::new(files),
        Err(error @ LoadError::NotOneSound { .. }) => {
            return Ok(vec![Finding {
                severity: Severity::Error,
                record: None,
                byte: Some(0),
                node: None,
                message: error.to_string(),
            }]);
        }
        Err(error) => return Err(error.into()),
    };
    let names = ask(&files)?;
    let table = Table::new(files, &names, &LookedUp::default());
    let finding = |severity, record: Option<u32>, message: String| Finding {
        severity,
        record,
        byte: record.map(offset),
        node: None,
        message,
    };
    let refused = table.refused().iter().map(|refused| {
        let number = Some(refused.number);
        Finding {
            node: Some(refused.name.clone()),
            ..finding(Severity::Error, number, refused.reason.clone())
        }
    });
    let warnings = table
        .warnings()
        .iter()
        .map(|warning| finding(Severity::Warning, warning.record, warning.text.clone()));
    let (failed, late) = (names.failed(), names.asked());
    let unresolved = table
        .unresolved_numbers()
        .zip(table.unresolved())
        .map(|(number, name)| {
            let message = no_address(name, &failed, &late);
            Finding {
                node: Some(name.to_owned()),
                ..finding(Severity::Warning, Some(number), message)
            }
        });
    let rules = context.rules(&args.config.root);
    let parsed = cfg::parse(bytes, rules);
    let winpes = winpes(&parsed, rules);
    let winpes = winpes.map(|(record, message)| finding(Severity::Warning, Some(record), message));
    Ok(refused
        .chain(warnings)
        .chain(unresolved)
        .chain(winpes)
        .collect())
}

/// What is wrong with WinPEs that records name, each with the first of these records.
fn winpes<'a>(
    records: &'a Records<'_>,
    rules: Rules<'a>,
) -> impl Iterator<Item = (u32, String)> + 'a {
    let mut named: BTreeMap<usize, (u32, usize)> = BTreeMap::new();
    for record in &records.records {
        let (first, nodes) = named.entry(record.winpe).or_insert((record.number, 0));
        *first = record.number.min(*first);
        *nodes += 1;
    }
    named
        .into_iter()
        .filter_map(move |(winpe, (first, nodes))| {
            let fault = fault(records.winpes.get(winpe)?, rules)?;
            let message = format!("the WinPE of {}: {fault}", count(nodes, "node"));
            Some((first, message))
        })
}

/// Why a name has no address, where the resolver has failed for some names and is late for others.
fn no_address(name: &str, failed: &[Failed], late: &[String]) -> String {
    if let Some(failed) = failed.iter().find(|f| f.name.eq_ignore_ascii_case(name)) {
        return format!(
            "no address for {name}: the resolver failed: {}; check the DNS, or add it to the hosts \
             file",
            failed.reason
        );
    }
    if late.iter().any(|late| late.eq_ignore_ascii_case(name)) {
        return format!(
            "no address for {name}: the resolver has not answered within {PATIENCE:?}; check the \
             DNS, or add it to the hosts file"
        );
    }
    format!("no address for {name}; add it to the hosts file or the DNS")
}

/// Asks the resolver for the names that the hosts file lacks.
fn ask(files: &Files) -> Result<Names> {
    let mut names = Names::default().of(files.wanted(), Instant::now());
    if names.asked().is_empty() {
        return Ok(names);
    }
    block_on(ask_for_all(&mut names, PATIENCE))?;
    Ok(names)
}

/// The findings in a file whose records may be out of step. Names are not checked before it is
/// repaired.
fn pieces(bytes: &[u8], rules: Rules<'_>) -> Vec<Finding> {
    let error = |byte, message| Finding {
        severity: Severity::Error,
        record: None,
        byte,
        node: None,
        message,
    };
    let salvage = salvage(bytes, rules);
    let size = format!(
        "{} bytes is not a multiple of the {RECORD}-byte record, and the daemon rejects the file; \
         `proxydhcp cfg repair` keeps {}",
        bytes.len(),
        count(salvage.kept.len(), "record")
    );
    let parts = salvage.rejected.into_iter().map(|rejected| {
        let message = format!("{}, up to byte {}", rejected.reason, rejected.bytes.end);
        error(Some(rejected.bytes.start), message)
    });
    parts.chain([error(None, size)]).collect()
}

fn line(finding: &Finding) -> String {
    let (word, color) = match finding.severity {
        Severity::Error => ("error", AnsiColor::Red),
        Severity::Warning => ("warning", AnsiColor::Yellow),
    };
    let style = Style::new().fg_color(Some(color.into())).bold();
    let place = match (finding.record, finding.byte) {
        (Some(record), Some(byte)) => match &finding.node {
            Some(node) => format!("record {record} (byte {byte}, {node}): "),
            None => format!("record {record} (byte {byte}): "),
        },
        (None, Some(byte)) => format!("byte {byte}: "),
        _ => String::new(),
    };
    format!("{style}{word}:{style:#} {place}{}", finding.message)
}

/// The byte at which a record begins.
fn offset(record: u32) -> usize {
    usize::try_from(record).map_or(0, |record| record.saturating_sub(1) * RECORD)
}
