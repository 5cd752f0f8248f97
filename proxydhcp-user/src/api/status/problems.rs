//! The problems with the files in service: as complete lists, and summarised for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{NamesStatus, NamesTold};
use crate::names::forward::Names;
use crate::nodes::cfg::Refused;
use crate::tables::table::Table;
use crate::text::Few;

/// All problems.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lists {
    /// Records that cannot be served.
    pub refused: Vec<Refused>,
    /// Names without an address, and what the resolver says about them.
    #[serde(flatten)]
    pub names: NamesStatus,
    /// Other problems with the files.
    pub warnings: Vec<String>,
}

impl Lists {
    /// The problems of the tables in service, after another one, `trouble`.
    pub fn new(table: &Table, names: &Names, trouble: Option<String>) -> Self {
        Self {
            refused: table.refused().to_vec(),
            names: NamesStatus::new(table, names),
            warnings: warnings(table, trouble).collect(),
        }
    }
}

impl fmt::Display for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Problems::of(&self.refused, &self.names, &self.warnings).fmt(f)
    }
}

fn warnings(table: &Table, trouble: Option<String>) -> impl Iterator<Item = String> {
    let warnings = table.warnings().iter().map(ToString::to_string);
    trouble.into_iter().chain(warnings)
}

/// The problems summarised for people, one on each line; empty if all is well.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problems {
    refused: Few<Refused>,
    names: NamesTold,
    warnings: Few<String>,
}

impl Problems {
    /// The problems of the tables in service, after another one, `trouble`.
    pub fn new(table: &Table, names: &Names, trouble: Option<String>) -> Self {
        Self {
            refused: Few::of(table.refused().iter()).map(Refused::clone),
            names: NamesTold::new(table, names),
            warnings: Few::of(warnings(table, trouble)),
        }
    }

    /// Summarises lists.
    pub(super) fn of(refused: &[Refused], names: &NamesStatus, warnings: &[String]) -> Self {
        Self {
            refused: Few::of(refused.iter()).map(Refused::clone),
            names: names.told(),
            warnings: Few::of(warnings.iter()).map(String::clone),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for record in &self.refused.first {
            writeln!(
                f,
                "refused: record {} ({}): {}",
                record.number, record.name, record.reason
            )?;
        }
        match self.refused.more() {
            0 => {}
            more => writeln!(f, "refused: {more} more")?,
        }
        write!(f, "{}", self.names)?;
        for warning in &self.warnings.first {
            writeln!(f, "warning: {warning}")?;
        }
        match self.warnings.more() {
            0 => Ok(()),
            more => writeln!(f, "warning: {more} more"),
        }
    }
}
