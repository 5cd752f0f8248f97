//! Determines what a reload changes, node by node.

use serde::{Deserialize, Serialize};

use super::Table;
use super::compare::{Change, Comparison};
use super::loss::Loss;
use super::register::folded;
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
    let comparison = Comparison::of(old, new);
    for node in comparison.differences() {
        changes.loss.note(&node);
        match (node.before, node.after) {
            (Some(_), Some((name, _))) => changes.changed.note(name),
            (None, Some((name, _))) => changes.added.note(name),
            (Some(name), None) => changes.removed.note(name),
            (None, None) => {}
        }
    }
    changes.loss.compare_with(&comparison);
    changes
}

/// The nodes that `new` serves and `old` does not, or serves differently: each once, by name.
pub fn news<'a>(old: &'a Table, new: &'a Table) -> Vec<(&'a str, &'a WinPe)> {
    let comparison = Comparison::of(old, new);
    let mut news: Vec<_> = comparison
        .differences()
        .filter_map(|node| node.after)
        .collect();
    news.sort_unstable_by(|(a, _), (b, _)| folded(a.as_bytes()).cmp(folded(b.as_bytes())));
    news
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

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

    /// What a table serves, by name in lower case: the addresses and the WinPE of each node.
    fn served(table: &Table) -> BTreeMap<String, (Vec<Ipv4Addr>, String)> {
        let mut served = BTreeMap::new();
        for node in table.nodes() {
            let winpe = table.winpes()[node.winpe].path().to_owned();
            let of_node = served.entry(node.name.to_ascii_lowercase());
            let (addresses, _) = of_node.or_insert((Vec::new(), winpe));
            addresses.push(node.address);
        }
        served
    }

    type Described = (Vec<(u8, bool, u8)>, Vec<(u8, u8)>);

    /// A table of nodes as (name, whether in capitals, WinPE), with addresses as (last byte, name).
    fn described((nodes, hosts): &Described) -> Table {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(name, is_capital, winpe)| {
                let letter = if *is_capital { 'N' } else { 'n' };
                let winpe = ["", "w", "x", ".."][usize::from(*winpe)];
                (format!("{letter}{name}"), winpe)
            })
            .collect();
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(name, winpe)| (&**name, *winpe))
            .collect();
        let lines = hosts
            .iter()
            .map(|(last, name)| format!("10.0.0.{last} n{name}\n"));
        let bad = nodes.iter().all(|(_, winpe)| *winpe == "..");
        let usual: &[_] = if bad { &[("z", "w")] } else { &[] };
        let all: Vec<_> = nodes.iter().chain(usual).copied().collect();
        table(&all, &lines.collect::<String>())
    }

    proptest! {
        #[test]
        fn changes_are_those_of_each_node(
            before in described_by(),
            after in described_by(),
        ) {
            let (old, new) = (described(&before), described(&after));
            let (before, after) = (served(&old), served(&new));
            let found = changes(&old, &new);
            let names = |is_in: &dyn Fn(&str) -> bool| -> Vec<String> {
                let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
                all.into_iter().filter(|name| is_in(name)).cloned().collect()
            };
            let is_added = |name: &str| !before.contains_key(name);
            let is_removed = |name: &str| !after.contains_key(name);
            let differs = |name: &str| before.get(name) != after.get(name);
            for (found, expected) in [
                (&found.added, names(&is_added)),
                (&found.removed, names(&is_removed)),
                (&found.changed, names(&|it| differs(it) && !is_added(it) && !is_removed(it))),
            ] {
                let examples = found.examples.iter().map(|it| it.to_ascii_lowercase());
                prop_assert_eq!(examples.collect::<Vec<_>>(), &*expected);
                prop_assert_eq!(found.count, expected.len());
            }
            let news: Vec<_> = news(&old, &new).into_iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            prop_assert_eq!(news, names(&|it| differs(it) && !is_removed(it)));
        }
    }

    fn described_by() -> impl Strategy<Value = Described> {
        (
            prop::collection::vec((0..8_u8, any::<bool>(), 0..4_u8), 0..10),
            prop::collection::vec((1..12_u8, 0..8_u8), 0..12),
        )
    }
}
