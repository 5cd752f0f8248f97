//! `proxydhcp cfg dump`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

use crate::cli::Context;
use crate::cli::args::{ConfigArgs, SettingsArgs};
use crate::cli::output::{note, page, print};
use crate::nodes::cfg::edit::{RawRecord, raw_records};
use crate::nodes::cfg::read_damaged;
use crate::text::{count, printable};
use crate::winpe::path::Rules;

/// Arguments of `cfg dump`.
#[derive(Clone, Debug, Args)]
pub struct DumpArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    /// Print them as JSON, for programs and for `cfg import`
    #[arg(long)]
    pub json: bool,
    /// Print only the first N records
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
}

/// A record in JSON, in `cfg dump` and in `cfg import`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The record's position in the file, from 1.
    #[serde(default)]
    record: Option<usize>,
    pub(super) node: String,
    pub(super) winpepath: String,
    /// Why the daemon does not serve it, if it is refused. Then its texts may be escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
}

impl Entry {
    fn new(number: usize, record: &RawRecord, rules: Rules<'_>) -> Self {
        let text = |bytes| str::from_utf8(bytes).map_or_else(|_| printable(bytes), str::to_owned);
        Self {
            record: Some(number),
            node: text(record.name()),
            winpepath: text(record.path()),
            refused: record.check(rules).err().map(|fault| fault.to_string()),
        }
    }
}

/// Prints all records.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn dump(args: &DumpArgs, context: &Context) -> Result<ExitCode> {
    let config = &args.config.config;
    let bytes = read_damaged(config)?;
    let (records, rest) = raw_records(&bytes);
    let shown = records
        .get(..args.limit.unwrap_or(usize::MAX))
        .unwrap_or(records);
    let numbered = (1..).zip(shown);
    if args.json {
        print(&json(shown, context.rules(&args.config.root))?);
    } else {
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_header(["record", "node", "WinPE path"]);
        table.add_rows(numbered.map(|(number, record)| {
            [
                number.to_string(),
                printable(record.name()),
                printable(record.path()),
            ]
        }));
        if let Some(column) = table.column_mut(0) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        page(&table.to_string());
    }
    let more = records.len() - shown.len();
    if more > 0 {
        note(&format!("and {}", count(more, "more record")));
    }
    if !rest.is_empty() {
        note(&format!(
            "{}: {} at its end make no record, and records before them may be out of step; \
             run `proxydhcp cfg check`",
            config.display(),
            count(rest.len(), "byte")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The records as `--json` prints them.
///
/// # Errors
/// If a value cannot be serialised, which does not happen for records.
pub fn json(records: &[RawRecord], rules: Rules<'_>) -> serde_json::Result<String> {
    let numbered = (1..).zip(records);
    let entries = numbered.map(|(number, record)| Entry::new(number, record, rules));
    serde_json::to_string_pretty(&entries.collect::<Vec<_>>())
}
