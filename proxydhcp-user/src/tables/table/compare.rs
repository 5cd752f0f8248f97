//! Compares what two tables serve, node by node.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Node, Table};
use crate::nodes::hardware::Id;
use crate::winpe::path::WinPe;

/// The maximum number of names in a [`Change`]: enough to recognise what happened.
pub(super) const EXAMPLES: usize = 20;

/// The nodes that changed in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The number of nodes.
    pub count: usize,
    /// Their first names in alphabetical order, 20 at most.
    pub examples: Vec<String>,
}

impl Change {
    pub(super) fn note(&mut self, node: &[Served<'_>]) {
        self.count += 1;
        if let Some(served) = node.first()
            && self.examples.len() < EXAMPLES
        {
            self.examples.push(served.name.to_owned());
        }
    }
}

/// Passes on the addresses, before and after, of each node that differs. Names are compared ignoring
/// ASCII case.
pub(super) fn compare<'a>(
    old: &'a Table,
    new: &'a Table,
    mut differs: impl FnMut(&[Served<'a>], &[Served<'a>]),
) {
    let mut nodes: Vec<_> = Served::all(old, false)
        .chain(Served::all(new, true))
        .collect();
    // The sort is stable: a node's addresses keep their order, the old ones before the new.
    nodes.sort_by(|a, b| a.folded().cmp(b.folded()));
    for node in nodes.chunk_by(|a, b| a.name.eq_ignore_ascii_case(b.name)) {
        let (before, after) = node.split_at(node.partition_point(|served| !served.new));
        let same = before.len() == after.len()
            && before
                .iter()
                .zip(after)
                .all(|(before, after)| before.same(after));
        if !same {
            differs(before, after);
        }
    }
}

/// What a node is known by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Address(Ipv4Addr),
    Hardware(Id),
}

/// An address at which a node is served, or a hardware address or UUID by which it is.
pub(super) struct Served<'a> {
    pub(super) name: &'a str,
    by: By,
    pub(super) winpe: Option<&'a WinPe>,
    new: bool,
}

impl<'a> Served<'a> {
    fn all(table: &'a Table, new: bool) -> impl Iterator<Item = Self> {
        let by_address = table.nodes().map(
            move |Node {
                      address,
                      name,
                      winpe,
                      ..
                  }| {
                // Indexes differ between tables, so values are compared.
                Self {
                    name,
                    by: By::Address(address),
                    winpe: table.winpes().get(winpe),
                    new,
                }
            },
        );
        let by_hardware = table.hardware().filter_map(move |known| {
            Some(Self {
                name: known.name,
                by: By::Hardware(known.id),
                winpe: Some(table.winpes().get(known.winpe?)?),
                new,
            })
        });
        by_address.chain(by_hardware)
    }

    /// Whether it is an address.
    pub(super) fn is_address(&self) -> bool {
        matches!(self.by, By::Address(_))
    }

    fn folded(&self) -> impl Iterator<Item = u8> {
        self.name.bytes().map(|byte| byte.to_ascii_lowercase())
    }

    /// Whether clients see no difference.
    fn same(&self, other: &Self) -> bool {
        self.by == other.by && self.winpe == other.winpe
    }
}
