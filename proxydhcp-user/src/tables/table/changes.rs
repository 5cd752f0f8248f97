//! Determines what a reload changes, node by node.

use serde::{Deserialize, Serialize};

use super::Table;
use super::compare::{Change, compare};
use super::loss::Loss;
use crate::winpe::path::WinPe;

/// The differences between two tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Nodes that are served now and were not before.
    pub added: Change,
    /// Nodes that are no longer served.
    pub removed: Change,
    /// Nodes with another WinPE or other addresses.
    pub changed: Change,
    /// What goes though nobody has asked for it.
    #[serde(skip)]
    pub loss: Loss,
}

/// Compares the nodes that two tables serve, by name, ignoring ASCII case.
pub fn changes(old: &Table, new: &Table) -> Changes {
    let mut changes = Changes::default();
    compare(old, new, |before, after| {
        changes.loss.note(before, after, new);
        match (before, after) {
            (before, []) => changes.removed.note(before),
            ([], after) => changes.added.note(after),
            (_, after) => changes.changed.note(after),
        }
    });
    changes.loss.compare_with(old, new);
    changes
}

/// The nodes that `new` serves and `old` does not, or serves differently: each once, by name.
pub fn news<'a>(old: &'a Table, new: &'a Table) -> Vec<(&'a str, &'a WinPe)> {
    let mut news = Vec::new();
    compare(old, new, |_, after| {
        news.extend(
            after
                .first()
                .and_then(|node| Some((node.name, node.winpe?))),
        );
    });
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::table::compare::EXAMPLES;
    use crate::tables::table::tests::table;

    fn change(count: usize, examples: &[&str]) -> Change {
        Change {
            count,
            examples: examples.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn nodes_are_compared_by_what_clients_see() {
        let hosts = "10.0.0.1 a\n10.0.0.2 b\n10.0.0.3 c\n10.0.0.4 d\n10.0.0.5 e\n10.0.0.6 f";
        let old = table(
            &[("a", ""), ("b", "w"), ("c", "x"), ("d", "x"), ("e", "x")],
            hosts,
        );
        let hosts = "10.0.0.1 a\n10.0.0.2 b\n10.0.0.3 c\n10.0.0.4 d\n10.0.1.5 e.ib0\n10.0.0.5 e\n\
            10.0.0.6 f";
        let new = table(
            &[
                ("f", ""),
                ("E", "x"),
                ("d", "y"),
                ("c", "x/"),
                ("b", "/tftpboot/w"),
            ],
            hosts,
        );
        let expected = Changes {
            added: change(1, &["f"]),
            removed: change(1, &["a"]),
            changed: change(2, &["d", "E"]),
            loss: Loss::default(),
        };
        assert_eq!(changes(&old, &new), expected);
        assert_eq!(changes(&new, &new), Changes::default());
        let news: Vec<_> = news(&old, &new)
            .into_iter()
            .map(|(name, winpe)| (name, winpe.path()))
            .collect();
        assert_eq!(news, [("d", "y/"), ("E", "x/"), ("f", "")]);
    }

    #[test]
    fn a_table_may_be_empty() {
        let table = table(&[("a", "")], "10.0.0.1 a");
        let empty = Table::empty();
        assert_eq!(changes(&empty, &empty), Changes::default());
        assert_eq!(changes(&empty, &table).added, change(1, &["a"]));
        assert_eq!(changes(&table, &empty).removed, change(1, &["a"]));
    }

    #[test]
    fn only_some_names_are_told() {
        let names: Vec<_> = (100..150).map(|number| format!("cn{number}")).collect();
        let nodes: Vec<_> = names.iter().map(|name| (&**name, "")).collect();
        let hosts: Vec<_> = (100..150)
            .map(|number| format!("10.0.0.{number} cn{number}"))
            .collect();
        let added = changes(&Table::empty(), &table(&nodes, &hosts.join("\n"))).added;
        assert_eq!((added.count, added.examples.len()), (50, EXAMPLES));
        assert_eq!(added.examples[19], "cn119");
    }
}
