//! Reports names without an address.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::forward::{Failed, Names};
use crate::tables::table::Table;
use crate::text::Few;

/// The names with problems.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesStatus {
    /// Names that have no address so far.
    pub unresolved: Vec<String>,
    /// Names that the resolver is being asked for.
    pub looking_up: Vec<String>,
    /// Names that the resolver could not be asked for. They are asked for again from time to time.
    pub failed: Vec<Failed>,
}

impl NamesStatus {
    /// The names with problems in this table.
    pub fn new(table: &Table, names: &Names) -> Self {
        Self {
            unresolved: table.unresolved().map(str::to_owned).collect(),
            looking_up: names.asked(),
            failed: names.failed(),
        }
    }

    /// Keeps only the names that `is_wanted` accepts.
    #[must_use]
    pub fn only(mut self, is_wanted: impl Fn(&str) -> bool) -> Self {
        self.unresolved.retain(|name| is_wanted(name));
        self.looking_up.retain(|name| is_wanted(name));
        self.failed.retain(|failed| is_wanted(&failed.name));
        self
    }
}

/// The names with problems, summarised for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NamesTold {
    looking_up: Few<String>,
    failed: Vec<FailedFor>,
    /// The names that the resolver denies.
    unresolved: Few<String>,
}

/// Names that the resolver could not be asked for, with one reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct FailedFor {
    reason: String,
    /// Whether they have no addresses from before.
    lost: bool,
    names: Few<String>,
}

impl NamesTold {
    /// Summarises the names with problems. This copies only what is shown.
    pub fn new(table: &Table, names: &Names) -> Self {
        let asked = Few::least(names.are_asked().collect());
        let failed = names.have_failed();
        let unresolved = table.unresolved().filter(|name| !names.is_open(name));
        Self {
            looking_up: asked.map(|(_, name)| name.to_owned()),
            failed: by_reason(failed),
            unresolved: Few::of(unresolved).map(str::to_owned),
        }
    }
}

impl NamesStatus {
    /// Summarises the names for people.
    pub(super) fn told(&self) -> NamesTold {
        let failed = self.failed.iter();
        let told: HashSet<_> = failed
            .clone()
            .map(|failed| &failed.name)
            .chain(&self.looking_up)
            .collect();
        let unresolved = self.unresolved.iter();
        let unresolved = unresolved.filter(|name| !told.contains(name));
        let failed = failed.map(|failed| (&*failed.reason, failed.kept.is_empty(), &*failed.name));
        NamesTold {
            looking_up: Few::of(self.looking_up.iter()).map(String::clone),
            failed: by_reason(failed),
            unresolved: Few::of(unresolved).map(String::clone),
        }
    }
}

/// Groups failed names by reason. Each item is the reason, whether there is no address, and the
/// name.
fn by_reason<'a>(failed: impl Iterator<Item = (&'a str, bool, &'a str)>) -> Vec<FailedFor> {
    let mut by_reason: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (reason, lost, name) in failed {
        by_reason.entry((reason, lost)).or_default().push(name);
    }
    let by_reason = by_reason.into_iter();
    by_reason
        .map(|((reason, lost), names)| FailedFor {
            reason: reason.to_owned(),
            lost,
            names: Few::least(names).map(str::to_owned),
        })
        .collect()
}

impl fmt::Display for NamesStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.told().fmt(f)
    }
}

impl fmt::Display for NamesTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.looking_up.count > 0 {
            writeln!(f, "the resolver is being asked for {}", self.looking_up)?;
        }
        for FailedFor {
            reason,
            lost,
            names,
        } in &self.failed
        {
            let outcome = if *lost {
                "there is no address for"
            } else {
                "the last known addresses stay for"
            };
            writeln!(f, "{reason}: {outcome} {names}")?;
        }
        if self.unresolved.count > 0 {
            writeln!(
                f,
                "no address for {}; add {} to the hosts file or the DNS",
                self.unresolved,
                if self.unresolved.count == 1 {
                    "it"
                } else {
                    "them"
                }
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
             no address for a; add it to the hosts file or the DNS\n"
        );
        assert_eq!(NamesStatus::default().to_string(), "");
    }
}
