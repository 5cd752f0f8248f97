//! Prints the results as tables.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

const NOTHING: &str = "-";

/// The results on one kernel.
#[derive(Default)]
pub(crate) struct Row {
    /// What `uname -r` prints, or the name of a kernel that is not available.
    pub(crate) kernel: String,
    pub(crate) boot: Option<Duration>,
    /// The ways to serve in which a storm was answered, or its losses were counted.
    pub(crate) datapaths: Vec<&'static str>,
    pub(crate) passed: BTreeSet<String>,
    /// The number of tests to run.
    pub(crate) tests: usize,
    /// The number of instructions that the verifier examined, by program.
    pub(crate) verified: Vec<(String, u32)>,
    /// The cells of each storm, by the way in which it was answered.
    pub(crate) storms: Vec<(&'static str, Vec<String>)>,
    failures: Vec<String>,
}

impl Row {
    pub(crate) fn new(kernel: &str) -> Self {
        Self {
            kernel: kernel.to_owned(),
            ..Self::default()
        }
    }

    /// Prints an error, and keeps it for the end.
    pub(crate) fn fails(&mut self, error: &anyhow::Error) {
        let failure = format!("Linux {}: {error:#}", self.kernel);
        println!("{failure}");
        self.failures.push(failure);
    }

    fn cells(&self) -> [String; 6] {
        let verified = |program: &str| {
            let mut counts = self.verified.iter();
            let count = counts.find(|(name, _)| name == program);
            count.map_or(NOTHING.to_owned(), |(_, count)| count.to_string())
        };
        let boot = |boot: Duration| format!("{:.0}", boot.as_secs_f64());
        [
            self.kernel.clone(),
            self.datapaths.join(", "),
            format!("{} of {}", self.passed.len(), self.tests),
            verified("answer"),
            verified("redirect"),
            self.boot.map_or(NOTHING.to_owned(), boot),
        ]
    }
}

/// The results on all kernels.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    lacking: Vec<&'static str>,
}

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Records that a kernel is no longer available.
    pub(crate) fn lacks(&mut self, version: &'static str) {
        self.lacking.push(version);
    }

    /// Whether something ran, and nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        let is_good = |row: &Row| row.failures.is_empty() && !row.passed.is_empty();
        !self.rows.is_empty() && self.rows.iter().all(is_good)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = [
            "Linux",
            "datapaths",
            "tests passed",
            "verified: answer",
            "redirect",
            "boot, s",
        ];
        let rows = self.rows.iter().map(|row| row.cells().to_vec());
        writeln!(f, "{}", table(&header, rows))?;
        let header = [
            "Linux",
            "a storm by",
            "served by",
            "requests",
            "answered at the first try",
            "later",
            "never",
            "requests lost",
            "replies dropped",
        ];
        let storms = self.rows.iter().flat_map(|row| {
            let of = |(way, cells): &(&'static str, Vec<String>)| {
                let first = [row.kernel.clone(), (*way).to_owned()];
                first.into_iter().chain(cells.iter().cloned()).collect()
            };
            row.storms.iter().map(of).collect::<Vec<_>>()
        });
        writeln!(f, "{}", table(&header, storms))?;
        for version in &self.lacking {
            writeln!(f, "Linux {version}: NOT RUN, it is no longer available")?;
        }
        for failure in self.rows.iter().flat_map(|row| &row.failures) {
            let first = failure.lines().next().unwrap_or_default();
            writeln!(f, "FAILED: {first}")?;
        }
        Ok(())
    }
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn row() -> Row {
        Row {
            datapaths: vec!["af-xdp", "raw"],
            passed: ["a", "b", "c"].map(str::to_owned).into(),
            tests: 5,
            verified: vec![("answer".to_owned(), 41_234)],
            boot: Some(Duration::from_millis(6600)),
            ..Row::new("6.1.0-45-amd64")
        }
    }

    #[test]
    fn the_table_has_what_was_seen_and_nothing_else() {
        assert_eq!(
            row().cells(),
            ["6.1.0-45-amd64", "af-xdp, raw", "3 of 5", "41234", "-", "7"]
        );
    }

    #[test]
    fn what_did_not_run_is_not_good() {
        let mut report = Report::default();
        assert!(!report.is_good(), "no kernel");
        report.add(row());
        assert!(report.is_good());
        report.lacks("5.10");
        assert!(report.is_good() && report.to_string().contains("5.10: NOT RUN"));
        let mut failed = row();
        failed.fails(&anyhow!("hangs\nin many words"));
        report.add(failed);
        let shown = report.to_string();
        assert!(!report.is_good() && shown.contains("FAILED: Linux 6.1.0-45-amd64: hangs\n"));
        let mut report = Report::default();
        report.add(Row::new("6.12"));
        assert!(!report.is_good(), "no test");
    }
}
