//! Parses the lines of a file to import.

use anyhow::Result;
use csv::{ReaderBuilder, StringRecord, Trim};
use serde_json::value::RawValue;

use crate::cli::cfg::dump::Entry;
use crate::nodes::cfg::edit::RawRecord;
use crate::winpe::path::Rules;

/// A node's line, or the line on which its entry begins.
#[derive(Debug)]
pub struct Line {
    /// The line number, from 1.
    pub number: u64,
    /// The record, or what is wrong with the line.
    pub record: Result<RawRecord, String>,
}

/// Counts lines while moving forward through a text.
struct Place<'a> {
    rest: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Place<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            at: 0,
            line: 1,
        }
    }

    /// The line, from 1, of a byte that is not before the one asked for last.
    fn line(&mut self, byte: usize) -> u64 {
        let length = byte.saturating_sub(self.at).min(self.rest.len());
        let (passed, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.at += length;
        let breaks = passed.split(|&byte| byte == b'\n').skip(1).count();
        self.line += u64::try_from(breaks).unwrap_or_default();
        self.line
    }
}

/// What separates the fields: where the comma is a decimal point, spreadsheets write semicolons.
fn delimiter(text: &[u8]) -> u8 {
    let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let is_content =
        |line: &&[u8]| !line.is_empty() && !line.starts_with(b"#") && separator(line).is_none();
    let first = lines.find(is_content).unwrap_or_default();
    *b",;\t"
        .iter()
        .find(|byte| first.contains(byte))
        .unwrap_or(&b',')
}

/// The separator that a first line such as `sep=;` names, for spreadsheets.
fn separator(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"sep=")
}

/// The lines of a CSV file. A header, comments and empty lines are skipped.
pub fn csv(text: &[u8], rules: Rules<'_>) -> Vec<Line> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .comment(Some(b'#'))
        .delimiter(delimiter(text))
        .from_reader(text);
    let mut lines = Vec::new();
    let mut place = Place::new(text);
    let mut fields = StringRecord::new();
    loop {
        let read = reader.read_record(&mut fields);
        // The reader has advanced to the line's end.
        let end = usize::try_from(reader.position().byte()).unwrap_or_default();
        let number = place.line(end.saturating_sub(1));
        match read {
            Ok(true) => {}
            Ok(false) => return lines,
            Err(error) => {
                let record = Err(reason(&error));
                lines.push(Line { number, record });
                // Other errors do not go away by reading on.
                if !matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) {
                    return lines;
                }
                continue;
            }
        }
        let mut columns: Vec<_> = fields.iter().collect();
        // Spreadsheets fill short lines up.
        while let [_, _, .., ""] = columns.as_slice() {
            columns.pop();
        }
        let record = match columns.as_slice() {
            [node, path] if lines.is_empty() && is_header(node, path) => continue,
            [text] | [text, ""] if lines.is_empty() && separator(text.as_bytes()).is_some() => {
                continue;
            }
            [node, path] if node.contains(['/', '\\']) || is_header(path, node) => Err(format!(
                "{node} is no node: a line is a node and its WinPE path, in this order"
            )),
            [node, path] => RawRecord::new(node, path, rules).map_err(|fault| fault.to_string()),
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
/// If it is not a list.
pub fn json(text: &[u8], rules: Rules<'_>) -> Result<Vec<Line>> {
    let text = str::from_utf8(text)?;
    let entries: Vec<&RawValue> = serde_json::from_str(text)?;
    let mut lines = Vec::with_capacity(entries.len());
    let mut place = Place::new(text.as_bytes());
    for entry in entries {
        // Entries are borrowed from the text, so their position is known.
        let start = entry.get().as_ptr().addr();
        let number = place.line(start.saturating_sub(text.as_ptr().addr()));
        let record = record(entry.get(), rules);
        lines.push(Line { number, record });
    }
    Ok(lines)
}

fn record(entry: &str, rules: Rules<'_>) -> Result<RawRecord, String> {
    let entry: Entry = serde_json::from_str(entry).map_err(|error| {
        // The error's line and column are relative to the entry.
        let text = error.to_string();
        text.split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned()
    })?;
    match entry.refused {
        Some(reason) => Err(format!("({}) {reason}, or take the entry out", entry.node)),
        None => {
            RawRecord::new(&entry.node, &entry.winpepath, rules).map_err(|fault| fault.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn rules() -> Rules<'static> {
        Rules::within(Path::new("/tftpboot"))
    }

    /// The line numbers, each with the record's name or its fault.
    fn told(lines: &[Line]) -> Vec<(u64, String)> {
        let text = |line: &Line| match &line.record {
            Ok(record) => String::from_utf8_lossy(record.name()).into_owned(),
            Err(reason) => reason.clone(),
        };
        lines.iter().map(|line| (line.number, text(line))).collect()
    }

    fn expected(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
        lines
            .iter()
            .map(|&(line, text)| (line, text.to_owned()))
            .collect()
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does() {
        let text = "# nodes\nNode,WinPEpath\n\ncn1, winboot/a \n#\n\ncn2,\n\"cn3\",\"a,b\"";
        let lines = expected(&[(4, "cn1"), (7, "cn2"), (8, "cn3")]);
        assert_eq!(told(&csv(text.as_bytes(), rules())), lines);
        let text = text.replace('\n', "\r\n");
        assert_eq!(told(&csv(text.as_bytes(), rules())), lines);
        let parsed = csv(text.as_bytes(), rules());
        assert_eq!(parsed[2].record.as_ref().unwrap().path(), b"a,b");
        assert_eq!(parsed[0].record.as_ref().unwrap().path(), b"winboot/a");
    }

    #[test]
    fn what_spreadsheets_write_is_read() {
        let expected = expected(&[(2, "cn1"), (3, "cn2"), (4, "cn3")]);
        for text in [
            "node,winpepath\ncn1,winboot/a\ncn2,winboot/b\ncn3,\n",
            "node;winpepath\ncn1;winboot/a\ncn2;winboot/b\ncn3;\n",
            "sep=;\ncn1;winboot/a\n\"cn2\";\"winboot/b\"\ncn3;;;\n",
            "node\twinpepath\ncn1\twinboot/a\ncn2\twinboot/b\ncn3\t\n",
            "node,winpepath,,\ncn1,winboot/a,,\ncn2,winboot/b,,\ncn3,,,\n",
        ] {
            assert_eq!(told(&csv(text.as_bytes(), rules())), expected, "{text}");
        }
    }

    #[test]
    fn columns_in_the_wrong_order_are_told() {
        let lines = told(&csv(b"winpepath,node\nwinboot/a,cn1\n", rules()));
        assert_eq!(lines.len(), 2);
        for (_, text) in lines {
            assert!(
                text.contains("is no node: a line is a node and its WinPE path"),
                "{text}"
            );
        }
    }

    #[test]
    fn each_bad_line_is_told() {
        let text = b"cn1,..\ncn2\ncn3,\xff\n,a\nnode,winpepath,x\ncn4,a\n";
        let lines = told(&csv(text, rules()));
        let numbers: Vec<_> = lines.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
        let said = [
            "has a '..'",
            "this has 1 fields",
            "UTF-8",
            "name is empty",
            "3 fields",
            "cn4",
        ];
        for ((_, text), said) in lines.iter().zip(said) {
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn entries_of_json_are_numbered_by_their_lines() {
        let text = "[\n{\"node\": \"cn1\",\n \"winpepath\": \"\"},\n\n{\"node\": 5}, \
            {\"node\": \"cn2\", \"winpepath\": \"\", \"refused\": \"no\"}]";
        let lines = told(&json(text.as_bytes(), rules()).unwrap());
        let numbers: Vec<_> = lines.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [2, 5, 5]);
        assert!(
            lines[1].1.starts_with("invalid type: integer `5`"),
            "{lines:?}"
        );
        assert!(
            lines[2].1.starts_with("(cn2) no, or take the entry out"),
            "{lines:?}"
        );
        assert!(json(b"{}", rules()).is_err());
    }
}
