//! Reports names without an address.

use std::cell::LazyCell;
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
    /// Those of them without an address from before whose nodes are answered all the same: they are
    /// known by their hardware addresses.
    #[serde(default)]
    pub by_hardware: Vec<String>,
}

impl NamesStatus {
    /// The names with problems in this table.
    pub fn new(table: &Table, names: &Names) -> Self {
        let failed = names.failed();
        let known = LazyCell::new(|| table.known_by_hardware());
        let by_hardware = failed
            .iter()
            .filter(|failed| failed.kept.is_empty() && known.contains(&*failed.name));
        Self {
            unresolved: table.unresolved().map(str::to_owned).collect(),
            looking_up: names.asked(),
            by_hardware: by_hardware.map(|failed| failed.name.clone()).collect(),
            failed,
        }
    }

    /// Keeps only the names that `is_wanted` accepts.
    #[must_use]
    pub fn only(mut self, is_wanted: impl Fn(&str) -> bool) -> Self {
        self.unresolved.retain(|name| is_wanted(name));
        self.looking_up.retain(|name| is_wanted(name));
        self.failed.retain(|failed| is_wanted(&failed.name));
        self.by_hardware.retain(|name| is_wanted(name));
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
    left: Left,
    names: Few<String>,
}

/// What is left of a node whose name the resolver could not be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Left {
    /// The addresses from before.
    Addresses,
    /// It had none, and is known by a hardware address.
    Hardware,
    Nothing,
}

impl Left {
    const fn of(has_addresses: bool, has_hardware: bool) -> Self {
        match (has_addresses, has_hardware) {
            (true, _) => Self::Addresses,
            (false, true) => Self::Hardware,
            (false, false) => Self::Nothing,
        }
    }
}

impl NamesTold {
    /// Summarises the names with problems. This copies only what is shown.
    pub fn new(table: &Table, names: &Names) -> Self {
        let asked = Few::least(names.are_asked().collect());
        let known = LazyCell::new(|| table.known_by_hardware());
        let failed = names.have_failed().map(|(reason, has_none, name)| {
            let left = Left::of(!has_none, known.contains(name));
            (reason, left, name)
        });
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
        let known: HashSet<_> = self.by_hardware.iter().collect();
        let failed = failed.map(|failed| {
            let left = Left::of(!failed.kept.is_empty(), known.contains(&failed.name));
            (&*failed.reason, left, &*failed.name)
        });
        NamesTold {
            looking_up: Few::of(self.looking_up.iter()).map(String::clone),
            failed: by_reason(failed),
            unresolved: Few::of(unresolved).map(String::clone),
        }
    }
}

/// Groups failed names by reason. Each item is the reason, what is left of the node, and the name.
fn by_reason<'a>(failed: impl Iterator<Item = (&'a str, Left, &'a str)>) -> Vec<FailedFor> {
    let mut by_reason: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (reason, left, name) in failed {
        by_reason.entry((reason, left)).or_default().push(name);
    }
    let by_reason = by_reason.into_iter();
    by_reason
        .map(|((reason, left), names)| FailedFor {
            reason: reason.to_owned(),
            left,
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
            left,
            names,
        } in &self.failed
        {
            let outcome = match left {
                Left::Addresses => "the last known addresses stay for",
                Left::Hardware => "without an address, but known by hardware:",
                Left::Nothing => "there is no address for",
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
            failed: vec![
                failed("c", &[]),
                failed("d", &[[10, 0, 0, 1]]),
                failed("e", &[]),
            ],
            by_hardware: vec![name("e")],
        };
        assert_eq!(
            status.to_string(),
            "the resolver is being asked for b\n\
             the name server is dead: the last known addresses stay for d\n\
             the name server is dead: without an address, but known by hardware: e\n\
             the name server is dead: there is no address for c\n\
             no address for a; add it to the hosts file or the DNS\n"
        );
        assert_eq!(NamesStatus::default().to_string(), "");
    }
}
