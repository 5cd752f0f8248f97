//! What is wrong with the files that are in service: the whole lists, and what people are told.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{NamesStatus, NamesTold};
use crate::names::forward::Names;
use crate::nodes::cfg::Refused;
use crate::tables::table::Table;

/// People are told so many of a list; `--json` has all of it.
pub(crate) const SHOWN: usize = 20;

/// The first of a list, and how many it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Few<T> {
    /// The first.
    pub first: Vec<T>,
    /// How many there are, these included.
    pub count: usize,
}

impl<T> Few<T> {
    /// Those that come first.
    pub(super) fn of(mut list: impl Iterator<Item = T>) -> Self {
        let first: Vec<_> = list.by_ref().take(SHOWN).collect();
        let count = first.len().saturating_add(list.count());
        Self { first, count }
    }

    /// Those that would come first if they were in order.
    pub(super) fn least(mut list: Vec<T>) -> Self
    where
        T: Ord,
    {
        let count = list.len();
        if count > SHOWN {
            list.select_nth_unstable(SHOWN);
            list.truncate(SHOWN);
        }
        list.sort_unstable();
        Self { first: list, count }
    }

    pub(super) fn map<U>(self, to: impl FnMut(T) -> U) -> Few<U> {
        Few {
            first: self.first.into_iter().map(to).collect(),
            count: self.count,
        }
    }

    /// How many there are beyond the first.
    fn more(&self) -> usize {
        self.count.saturating_sub(self.first.len())
    }
}

/// In a line: the first, and how many more there are.
impl fmt::Display for Few<String> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.first.join(", "), and_more(self.more()))
    }
}

pub(crate) fn and_more(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(" and {count} more"),
    }
}

/// All that is wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lists {
    /// Records that cannot be served.
    pub refused: Vec<Refused>,
    /// Names that no address leads to, and what the resolver says of them.
    #[serde(flatten)]
    pub names: NamesStatus,
    /// What else is wrong with the files.
    pub warnings: Vec<String>,
}

impl Lists {
    /// Of the tables in service, after another `trouble`.
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

/// What people are told of it, a line each; nothing if all is well.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problems {
    refused: Few<Refused>,
    names: NamesTold,
    warnings: Few<String>,
}

impl Problems {
    /// Of the tables in service, after another `trouble`.
    pub fn new(table: &Table, names: &Names, trouble: Option<String>) -> Self {
        Self {
            refused: Few::of(table.refused().iter()).map(Refused::clone),
            names: NamesTold::new(table, names),
            warnings: Few::of(warnings(table, trouble)),
        }
    }

    /// Of lists.
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
            more => writeln!(f, "refused: {more} records more")?,
        }
        write!(f, "{}", self.names)?;
        for warning in &self.warnings.first {
            writeln!(f, "warning: {warning}")?;
        }
        match self.warnings.more() {
            0 => Ok(()),
            more => writeln!(f, "warning: {more} warnings more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_list_are_told_and_how_many_more_there_are() {
        let many = (0..50).map(|n| format!("n{n:02}"));
        let told = Few::of(many.clone());
        assert!(told.to_string().starts_with("n00, n01, "));
        assert!(told.to_string().ends_with(", n19 and 30 more"));
        assert_eq!(Few::least(many.clone().rev().collect()), told);
        let few = Few::least(many.take(2).collect());
        assert_eq!(few.to_string(), "n00, n01");
    }
}
