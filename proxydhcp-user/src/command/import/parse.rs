//! The lines of a file to import.

use std::path::Path;

use anyhow::Result;
use csv::{ReaderBuilder, StringRecord, Trim};
use serde_json::value::RawValue;

use super::super::dump::Entry;
use crate::cfg::edit::RawRecord;

/// A node's line, or the line that its entry begins on.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    /// The record, or what is wrong with the line.
    pub(super) record: Result<RawRecord, String>,
}

/// The lines of a CSV file. A header, comments and empty lines are passed over.
pub(super) fn csv(text: &[u8], tftp_root: &Path) -> Vec<Line> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .comment(Some(b'#'))
        .from_reader(text);
    let mut lines = Vec::new();
    let mut fields = StringRecord::new();
    loop {
        match reader.read_record(&mut fields) {
            Ok(true) => {}
            Ok(false) => return lines,
            Err(error) => {
                let number = error.position().map_or(0, csv::Position::line);
                let record = Err(reason(&error));
                lines.push(Line { number, record });
                // Whatever else it is, it does not go away by reading on.
                if !matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) {
                    return lines;
                }
                continue;
            }
        }
        let number = fields.position().map_or(0, csv::Position::line);
        let record = match fields.iter().collect::<Vec<_>>().as_slice() {
            [node, path] if lines.is_empty() && is_header(node, path) => continue,
            [node, path] => {
                RawRecord::new(node, path, tftp_root).map_err(|fault| fault.to_string())
            }
            other => Err(format!(
                "a line is a node and its WinPE path, with a comma between; this has {} fields",
                other.len()
            )),
        };
        lines.push(Line { number, record });
    }
}

fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "not text (UTF-8)".to_owned(),
        _ => error.to_string(),
    }
}

fn is_header(node: &str, path: &str) -> bool {
    node.eq_ignore_ascii_case("node") && path.eq_ignore_ascii_case("winpepath")
}

/// The entries of a JSON file.
///
/// # Errors
/// It is no list.
pub(super) fn json(text: &[u8], tftp_root: &Path) -> Result<Vec<Line>> {
    let text = str::from_utf8(text)?;
    let entries: Vec<&RawValue> = serde_json::from_str(text)?;
    let mut lines = Vec::with_capacity(entries.len());
    let (mut number, mut counted) = (1, 0);
    for entry in entries {
        // Entries are borrowed from the text, in its order.
        let start = entry
            .get()
            .as_ptr()
            .addr()
            .saturating_sub(text.as_ptr().addr());
        let between = text.as_bytes().get(counted..start).unwrap_or_default();
        number += between
            .iter()
            .fold(0, |lines, &byte| lines + u64::from(byte == b'\n'));
        counted = start;
        let record = record(entry.get(), tftp_root);
        lines.push(Line { number, record });
    }
    Ok(lines)
}

fn record(entry: &str, tftp_root: &Path) -> Result<RawRecord, String> {
    let entry: Entry = serde_json::from_str(entry).map_err(|error| {
        // Its own line and column are within the entry.
        let text = error.to_string();
        text.split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned()
    })?;
    match entry.refused {
        Some(reason) => Err(format!("({}) {reason}, or take the entry out", entry.node)),
        None => RawRecord::new(&entry.node, &entry.winpepath, tftp_root)
            .map_err(|fault| fault.to_string()),
    }
}
