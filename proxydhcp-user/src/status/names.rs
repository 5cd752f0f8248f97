//! What the daemon tells about names without an address.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{SHOWN, and_more};
use crate::names::{Failed, Names};
use crate::strangers::LookupStatus;
use crate::table::Table;

/// The names that are not as they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesStatus {
    /// Names that no address leads to, so far.
    pub unresolved: Vec<String>,
    /// Names that the resolver is being asked for.
    pub looking_up: Vec<String>,
    /// Names that it could not be asked for. They are asked for again from time to time.
    pub failed: Vec<Failed>,
}

impl NamesStatus {
    /// How things stand.
    pub fn new(table: &Table, names: &Names) -> Self {
        Self {
            unresolved: table.unresolved().map(str::to_owned).collect(),
            looking_up: names.asked(),
            failed: names.failed(),
        }
    }

    /// Those of them that `is_wanted`.
    #[must_use]
    pub fn only(mut self, is_wanted: impl Fn(&str) -> bool) -> Self {
        self.unresolved.retain(|name| is_wanted(name));
        self.looking_up.retain(|name| is_wanted(name));
        self.failed.retain(|failed| is_wanted(&failed.name));
        self
    }
}

impl fmt::Display for NamesStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.looking_up.is_empty() {
            let names = list(self.looking_up.iter().map(String::as_str));
            writeln!(f, "the resolver is being asked for {names}")?;
        }
        let mut failed: BTreeMap<(&str, bool), Vec<&str>> = BTreeMap::new();
        for name in &self.failed {
            let names = failed.entry((&name.reason, name.kept.is_empty()));
            names.or_default().push(&name.name);
        }
        for ((reason, lost), names) in failed {
            let names = list(names.into_iter());
            let outcome = if lost {
                "there is no address for"
            } else {
                "the last known addresses stay for"
            };
            writeln!(f, "{reason}: {outcome} {names}")?;
        }
        let told: HashSet<_> = self
            .failed
            .iter()
            .map(|failed| &failed.name)
            .chain(&self.looking_up)
            .collect();
        let mut unresolved = self
            .unresolved
            .iter()
            .filter(|name| !told.contains(name))
            .peekable();
        if unresolved.peek().is_some() {
            let names = list(unresolved.map(String::as_str));
            writeln!(
                f,
                "no address for {names}; add them to the hosts file or the DNS"
            )?;
        }
        Ok(())
    }
}

/// Who waits for how many names.
pub(crate) fn waiting(names: usize) -> String {
    format!("clients without a record wait until the resolver has been heard; names to go: {names}")
}

/// The first names, and how many more there are.
fn list<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    let shown: Vec<_> = names.by_ref().take(SHOWN).collect();
    format!("{}{}", shown.join(", "), and_more(names.count()))
}

impl fmt::Display for LookupStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "clients without a record: {} looked up, {} with a name, {} without, {} failed; {} \
             remembered",
            self.asked, self.found, self.unknown, self.failed, self.remembered
        )?;
        if self.dropped > 0 {
            write!(
                f,
                "; {} requests NOT looked up, too many waited",
                self.dropped
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_by_what_is_the_matter() {
        let name = |name: &str| name.to_owned();
        let failed = |name: &str, kept: &[[u8; 4]]| Failed {
            name: name.to_owned(),
            reason: "the name server is dead".to_owned(),
            kept: kept.iter().copied().map(Into::into).collect(),
        };
        let status = NamesStatus {
            unresolved: ["a", "b", "c"].map(name).into(),
            looking_up: vec![name("b")],
            failed: vec![failed("c", &[]), failed("d", &[[10, 0, 0, 1]])],
        };
        assert_eq!(
            status.to_string(),
            "the resolver is being asked for b\n\
             the name server is dead: the last known addresses stay for d\n\
             the name server is dead: there is no address for c\n\
             no address for a; add them to the hosts file or the DNS\n"
        );
        assert_eq!(NamesStatus::default().to_string(), "");
        let many: Vec<_> = (0..50).map(|n| format!("n{n}")).collect();
        assert!(list(many.iter().map(String::as_str)).ends_with("n19 and 30 more"));
    }
}
