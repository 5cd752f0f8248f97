//! Compares what two tables serve, node by node.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Known, Node, Table};
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
    let (in_old, in_new) = differing(old, new);
    let is_in = |records: &[bool], record: u32| records.get(record as usize) == Some(&true);
    let old = Served::all(old, false).filter(|served| is_in(&in_old, served.record));
    let new = Served::all(new, true).filter(|served| is_in(&in_new, served.record));
    let mut nodes: Vec<_> = old.chain(new).collect();
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

/// The records, in the old table and in the new one, of all nodes that may differ: sorting all of them
/// by name to compare two may take longer than all else.
fn differing(old: &Table, new: &Table) -> (Vec<bool>, Vec<bool>) {
    let mut differing = Differing {
        old,
        new,
        in_old: vec![false; old.len()],
        in_new: vec![false; new.len()],
    };
    let (mut before, mut after) = (old.nodes().peekable(), new.nodes().peekable());
    loop {
        let address = match (before.peek(), after.peek()) {
            (Some(old), Some(new)) => old.address.min(new.address),
            (Some(one), None) | (None, Some(one)) => one.address,
            (None, None) => break,
        };
        let owner = |node: Node<'_>| (node.record, Some(node.winpe));
        let before = before.next_if(|node| node.address == address).map(owner);
        let after = after.next_if(|node| node.address == address).map(owner);
        differing.note(before, after);
    }
    // These are in the order of the files, which is mostly the same.
    let (mut before, mut after) = (old.hardware(), new.hardware());
    loop {
        let (before, after) = (before.next(), after.next());
        let is_one = before.map(|known| known.id) == after.map(|known| known.id);
        let owner = |known: Known<'_>| (known.record, known.winpe);
        match (before.map(owner), after.map(owner)) {
            (None, None) => break,
            (before, after) if is_one => differing.note(before, after),
            (before, after) => {
                differing.note(before, None);
                differing.note(None, after);
            }
        }
    }
    (differing.in_old, differing.in_new)
}

/// What has an address: its record, and its WinPE if it has one.
type Owner = (u32, Option<usize>);

struct Differing<'t> {
    old: &'t Table,
    new: &'t Table,
    in_old: Vec<bool>,
    in_new: Vec<bool>,
}

impl Differing<'_> {
    /// Notes what has an address before and after.
    fn note(&mut self, before: Option<Owner>, after: Option<Owner>) {
        let (old, new) = (&self.old.files, &self.new.files);
        if let (Some((one, before)), Some((other, after))) = (before, after)
            && (one == other && old.has_nodes_of(new)
                || old.name(one).eq_ignore_ascii_case(new.name(other)))
        {
            let before = before.and_then(|winpe| old.winpes.get(winpe));
            if before != after.and_then(|winpe| new.winpes.get(winpe)) {
                mark(&mut self.in_old, Some(one));
                mark(&mut self.in_new, Some(other));
            }
            return;
        }
        // A node is compared with all that it has in both.
        if let Some((record, _)) = before {
            mark(&mut self.in_old, Some(record));
            mark(&mut self.in_new, new.record(old.name(record)));
        }
        if let Some((record, _)) = after {
            mark(&mut self.in_old, old.record(new.name(record)));
            mark(&mut self.in_new, Some(record));
        }
    }
}

fn mark(records: &mut [bool], record: Option<u32>) {
    if let Some(marked) = record.and_then(|record| records.get_mut(record as usize)) {
        *marked = true;
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
    record: u32,
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
                      record,
                  }| {
                // Indexes differ between tables, so values are compared.
                Self {
                    name,
                    record,
                    by: By::Address(address),
                    winpe: table.winpes().get(winpe),
                    new,
                }
            },
        );
        let by_hardware = table.hardware().filter_map(move |known| {
            Some(Self {
                name: known.name,
                record: known.record,
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
