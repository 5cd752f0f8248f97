//! Compares what two tables serve, node by node.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::register::folded;
use super::{Files, Table, hardware};
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
    /// Notes a node. They may come in any order.
    pub(super) fn note(&mut self, name: &str) {
        self.count += 1;
        let precedes = |known: &String| folded(known.as_bytes()).lt(folded(name.as_bytes()));
        if self.examples.len() == EXAMPLES {
            if self.examples.last().is_some_and(precedes) {
                return;
            }
            self.examples.pop();
        }
        let at = self.examples.partition_point(precedes);
        self.examples.insert(at, name.to_owned());
    }
}

/// A node that is not served as before: with another WinPE, at other addresses, by other hardware addresses.
pub(super) struct Difference<'a> {
    /// Its name, if it was served.
    pub(super) before: Option<&'a str>,
    /// Its name and WinPE, if it is served now.
    pub(super) after: Option<(&'a str, &'a WinPe)>,
    /// By how many addresses it has fewer.
    pub(super) lost: usize,
    /// Whether it has a record that can be served.
    pub(super) is_kept: bool,
}

/// Two tables, compared node by node. A node is known by its name, ignoring ASCII case.
pub(super) struct Comparison<'a> {
    old: &'a Table,
    new: &'a Table,
    /// The place of each old record among the nodes.
    places: Vec<u32>,
    /// The nodes: at the positions of the new records, and behind them those that only had a record before.
    nodes: Vec<Node>,
}

/// What is known of a node.
#[derive(Clone, Copy, Default)]
struct Node {
    before: Served,
    after: Served,
    differs: bool,
}

/// How a node is served by a table.
#[derive(Clone, Copy, Default)]
struct Served {
    addresses: u32,
    /// Whether it is served at all: by its hardware address, or at an address.
    at_all: bool,
}

/// What has an address or a hardware address: the node's place, and the place of its WinPE in the new
/// table if it is there.
type Owner = (u32, Option<usize>);

impl<'a> Comparison<'a> {
    /// Compares them in one pass over all addresses: nothing is sorted, and nothing is made for a node.
    pub(super) fn of(old: &'a Table, new: &'a Table) -> Self {
        let places = places(&old.files, &new.files);
        let end = places.iter().max().map_or(0, |place| *place as usize + 1);
        let mut comparison = Self {
            old,
            new,
            places,
            nodes: vec![Node::default(); end.max(new.len())],
        };
        comparison.note_all();
        comparison
    }

    fn note_all(&mut self) {
        let Self {
            old,
            new,
            places,
            nodes,
        } = self;
        let winpes = winpes(old, new);
        let owner_before = |record: u32| {
            let winpe = winpes.get(old.files.winpe(record)?)?;
            Some((*places.get(record as usize)?, *winpe))
        };
        let owner_after = |record: u32| Some((record, Some(new.files.winpe(record)?)));

        let before = old.claims.iter();
        let before = before.map(|claim| (claim.address, owner_before(claim.record)));
        let after = new.claims.iter();
        let after = after.map(|claim| (claim.address, owner_after(claim.record)));
        pair(before, after, |before, after| note(nodes, before, after, 1));

        // These are in the order of the files, which is mostly the same.
        let (mut before, mut after) = (hardware(old), hardware(new));
        let (mut others_before, mut others_after) = (Vec::new(), Vec::new());
        loop {
            let (before, after) = (before.next(), after.next());
            let of_before = before.map(|claim| (claim.id, owner_before(claim.record)));
            let of_after = after.map(|claim| (claim.id, owner_after(claim.record)));
            match (of_before, of_after) {
                (None, None) => break,
                (Some((id, before)), Some((other, after))) if id == other => {
                    note(nodes, before, after, 0);
                }
                (before, after) => {
                    others_before.extend(before);
                    others_after.extend(after);
                }
            }
        }
        others_before.sort_unstable();
        others_after.sort_unstable();
        let (before, after) = (others_before.into_iter(), others_after.into_iter());
        pair(before, after, |before, after| note(nodes, before, after, 0));
    }

    /// The nodes that are not served as before, in no particular order.
    pub(super) fn differences(&self) -> impl Iterator<Item = Difference<'a>> {
        let new = self.new;
        let was_served = self.before().filter(|(_, _, node)| node.differs);
        let was_served = was_served.map(move |(name, place, node)| Difference {
            before: Some(name),
            after: new.of_record(place).filter(|_| node.after.at_all),
            lost: node.before.addresses.saturating_sub(node.after.addresses) as usize,
            is_kept: new.files.winpe(place).is_some(),
        });
        let is_added = |node: &Node| node.after.at_all && !node.before.at_all;
        let added = (0..)
            .zip(&self.nodes)
            .filter(move |(_, node)| is_added(node));
        let added = added.map(move |(place, _)| Difference {
            before: None,
            after: new.of_record(place),
            lost: 0,
            is_kept: true,
        });
        was_served.chain(added)
    }

    /// The number of addresses that were in service of nodes that have a record which can be served.
    pub(super) fn kept(&self) -> usize {
        let is_kept = |place| self.new.files.winpe(place).is_some();
        let kept = self.before().filter(|(_, place, _)| is_kept(*place));
        kept.map(|(_, _, node)| node.before.addresses as usize)
            .sum()
    }

    /// The nodes that were served: their names, their places, and what is known of them.
    fn before(&self) -> impl Iterator<Item = (&'a str, u32, &Node)> {
        let old = self.old;
        let all = (0..).zip(&self.places).filter_map(|(record, place)| {
            let node = self.nodes.get(*place as usize)?;
            Some((record, *place, node))
        });
        let served = all.filter(|(_, _, node)| node.before.at_all);
        served.map(|(record, place, node)| (old.files.name(record), place, node))
    }
}

/// The place of each old record: the position of the new record of the same name, or else one behind all of
/// them.
fn places(old: &Files, new: &Files) -> Vec<u32> {
    let all = (0_u32..).take(old.len());
    if old.has_nodes_of(new) {
        return all.collect();
    }
    let (mut next, mut behind) = (0, (0_u32..).skip(new.len()));
    let place = |record: u32| {
        let name = old.name(record);
        let is_it = |at: &u32| new.name(*at).eq_ignore_ascii_case(name);
        // The order is mostly the same.
        let found = Some(next).filter(is_it).or_else(|| new.record(name));
        next = found.map_or(next, |at| at + 1);
        found.or_else(|| behind.next()).unwrap_or(u32::MAX)
    };
    all.map(place).collect()
}

fn hardware(table: &Table) -> impl Iterator<Item = &hardware::Claim> {
    table.files.register.hardware.iter()
}

/// The place of each old WinPE among the new ones, if it is there.
fn winpes(old: &Table, new: &Table) -> Vec<Option<usize>> {
    let places: HashMap<&WinPe, usize> = new.winpes().iter().zip(0..).collect();
    let old = old.winpes().iter();
    old.map(|winpe| places.get(winpe).copied()).collect()
}

/// Passes on who has each key before and after. Both are sorted by it.
fn pair<K: Ord>(
    before: impl Iterator<Item = (K, Option<Owner>)>,
    after: impl Iterator<Item = (K, Option<Owner>)>,
    mut each: impl FnMut(Option<Owner>, Option<Owner>),
) {
    let (mut before, mut after) = (before.peekable(), after.peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some((one, _)), Some((other, _))) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let before = before.next_if(|_| order.is_le());
        let after = after.next_if(|_| order.is_ge());
        let owner = |one: Option<(K, Option<Owner>)>| one.and_then(|(_, owner)| owner);
        each(owner(before), owner(after));
    }
}

/// Notes who has an address, or a hardware address, which counts as no address, before and after.
fn note(nodes: &mut [Node], before: Option<Owner>, after: Option<Owner>, addresses: u32) {
    let differs = before != after;
    let mut note = |owner: Option<Owner>, served: fn(&mut Node) -> &mut Served| {
        if let Some(node) = owner.and_then(|(place, _)| nodes.get_mut(place as usize)) {
            node.differs |= differs;
            let served = served(node);
            served.at_all = true;
            served.addresses += addresses;
        }
    };
    note(before, |node| &mut node.before);
    note(after, |node| &mut node.after);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_are_kept_in_whatever_order_they_come() {
        let names: Vec<_> = (0..100).map(|number| format!("n{number:02}")).collect();
        let expected: Vec<_> = names.iter().take(EXAMPLES).cloned().collect();
        for step in [1, 7, 37, 99] {
            let mut change = Change::default();
            for number in 0..100 {
                change.note(&names[number * step % 100]);
            }
            assert_eq!(change.count, 100);
            assert_eq!(change.examples, expected, "{step}");
        }
    }
}
