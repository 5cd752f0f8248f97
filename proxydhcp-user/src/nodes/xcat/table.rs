//! A table of xCAT, as `tabdump` prints it: CSV whose first line is `#` and the column names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use csv::{ByteRecord, ReaderBuilder};

use crate::sys::output::{OutputError, output};

/// Where xCAT installs its `tabdump`.
pub(crate) const TABDUMP: &str = "/opt/xcat/sbin/tabdump";

/// The column by which a row is commented out.
const DISABLE: &str = "disable";

/// The program that prints xCAT's tables.
#[derive(Clone, Debug)]
pub(crate) struct Tabdump<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// How long it may take for one table.
    pub(crate) limit: Duration,
    /// Whether it should read the database itself, instead of asking xcatd.
    pub(crate) bypass: bool,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// `tabdump` does not print it.
    #[error("{} {table}: {error}; check that xcatd runs and that this user may ask it", .program.display())]
    Tabdump {
        program: PathBuf,
        table: &'static str,
        error: OutputError,
    },
    /// There is no first line with column names.
    #[error(
        "the table {table} does not begin with # and its column names; \
         compare with the output of `tabdump {table}`"
    )]
    NoHeader { table: &'static str },
    /// A column is missing.
    #[error("the table {table} has no column {column}; is this xCAT 2.8 or later?")]
    NoColumn {
        table: &'static str,
        column: &'static str,
    },
    /// It is not CSV.
    #[error("the table {table} is not the CSV that tabdump prints: {error}")]
    Csv {
        table: &'static str,
        error: csv::Error,
    },
    /// A row without a key.
    #[error("line {line} of the table {table} has no {column}; correct it with `tabedit {table}`")]
    NoKey {
        table: &'static str,
        column: &'static str,
        line: u64,
    },
}

/// A row's values, in the order of the table's columns.
type Row = Box<[Option<Box<str>>]>;

/// The rows of a table that are not disabled, by the value of their first column.
#[derive(Debug)]
pub(super) struct Table {
    columns: &'static [&'static str],
    rows: HashMap<Box<str>, Row>,
    /// The keys, in the table's order.
    keys: Vec<Box<str>>,
}

impl Tabdump<'_> {
    /// Reads these columns of a table; the first one is its key.
    pub(super) fn read(
        &self,
        table: &'static str,
        columns: &'static [&'static str],
    ) -> Result<Table, TableError> {
        let mut command = Command::new(self.program);
        command.arg(table).env("LC_ALL", "C");
        if self.bypass {
            command.env("XCATBYPASS", "1");
        }
        let text = output(&mut command, self.limit).map_err(|error| TableError::Tabdump {
            program: self.program.to_owned(),
            table,
            error,
        })?;
        Table::parse(&text, table, columns)
    }
}

impl Table {
    fn parse(
        text: &[u8],
        table: &'static str,
        columns: &'static [&'static str],
    ) -> Result<Self, TableError> {
        let text = text
            .strip_prefix(b"#")
            .ok_or(TableError::NoHeader { table })?;
        let mut reader = ReaderBuilder::new().from_reader(text);
        let not_csv = |error| TableError::Csv { table, error };
        let header = reader.byte_headers().map_err(not_csv)?.clone();
        let position = |column: &'static str| {
            let mut names = header.iter();
            let position = names.position(|name| name == column.as_bytes());
            position.ok_or(TableError::NoColumn { table, column })
        };
        let positions: Vec<usize> = columns
            .iter()
            .map(|column| position(column))
            .collect::<Result<_, _>>()?;
        let disable = position(DISABLE)?;
        let mut parsed = Self {
            columns,
            rows: HashMap::new(),
            keys: Vec::new(),
        };
        for row in reader.into_byte_records() {
            let row = row.map_err(not_csv)?;
            if text_of(&row, disable).is_some_and(|value| is_disabled(&value)) {
                continue;
            }
            let values: Row = positions.iter().map(|&at| text_of(&row, at)).collect();
            let Some(Some(key)) = values.first() else {
                return Err(TableError::NoKey {
                    table,
                    column: columns.first().copied().unwrap_or_default(),
                    line: row.position().map_or(0, csv::Position::line),
                });
            };
            if let Entry::Vacant(entry) = parsed.rows.entry(key.clone()) {
                parsed.keys.push(key.clone());
                entry.insert(values);
            }
        }
        Ok(parsed)
    }

    /// The keys of all rows, in the table's order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// Whether there is a row with this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.rows.contains_key(key)
    }

    /// A value, if the row and the value exist.
    pub(super) fn get(&self, key: &str, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|name| *name == column)?;
        self.rows.get(key)?.get(at)?.as_deref()
    }
}

/// A row's value. xCAT takes an empty one for none.
fn text_of(row: &ByteRecord, at: usize) -> Option<Box<str>> {
    let value = row.get(at).filter(|value| !value.is_empty())?;
    Some(String::from_utf8_lossy(value).into())
}

/// Whether this value of the column `disable` comments a row out.
fn is_disabled(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("no")
}

#[cfg(test)]
impl Table {
    pub(super) fn of(
        text: &str,
        table: &'static str,
        columns: &'static [&'static str],
    ) -> Result<Self, TableError> {
        Self::parse(text.as_bytes(), table, columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[&str] = &["node", "ip"];

    fn table(text: &str) -> Result<Table, TableError> {
        Table::of(text, "hosts", COLUMNS)
    }

    #[test]
    fn values_are_read_as_tabdump_quotes_them() {
        let text = "#node,ip,hostnames,comments,disable\n\
            \"n1\",\"10.0.0.1\",\"a,b\",\"rack \"\"7\"\", left\n2nd line\",\n\
            \"n2\",,,,\n\
            \"n3\",\"10.0.0.3\",,,\"1\"\n\
            \"n4\",\"|\\D+(\\d+)|10.0.1.($1+0)|\",,,\"no\"\n\
            \"n1\",\"10.9.9.9\",,,\n";
        let table = table(text).unwrap();
        assert_eq!(table.keys().collect::<Vec<_>>(), ["n1", "n2", "n4"]);
        assert_eq!(table.get("n1", "ip"), Some("10.0.0.1"));
        assert_eq!(table.get("n2", "ip"), None);
        assert_eq!(table.get("n4", "ip"), Some("|\\D+(\\d+)|10.0.1.($1+0)|"));
        assert!(!table.has("n3"));
    }

    #[test]
    fn an_odd_table_is_refused_with_what_is_odd() {
        for (text, told) in [
            ("", "does not begin with #"),
            ("node,ip,disable\n", "does not begin with #"),
            ("#node,disable\n", "the table hosts has no column ip"),
            ("#node,ip\n", "has no column disable"),
            ("#node,ip,disable\n\"n1\",\"10.0.0.1\"\n", "line: 2"),
            (
                "#node,ip,disable\n,\"10.0.0.1\",\n",
                "line 2 of the table hosts has no node",
            ),
        ] {
            let error = table(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text:?}: {error}");
        }
        assert_eq!(table("#node,ip,disable\n").unwrap().keys().count(), 0);
    }
}
