//! What has changed since when.
//!
//! Each change has a number. A viewer that knows all changes up to one is told about the nodes whose
//! last change is later. If that is more than an update may hold, it goes on behind the last node that it
//! was told about, and what changes before that node comes with the next pass.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::activity::{milliseconds, row};
use super::groups;
use crate::api::activity::{NodeActivity, State};
use crate::api::storm::rows::Rows;
use crate::api::storm::{Counted, Named, Names, Position, Row, Totals, Update, number};
use crate::text::{printable, visible};

/// The nodes as they were looked at last.
#[derive(Default)]
pub(super) struct Changes {
    /// The number of the list of names: a time, so that no other daemon has the same.
    list: u64,
    /// The tables that the names belong to.
    generation: Option<u64>,
    names: Names,
    /// The node of each row, as a place in what is looked at.
    order: Vec<u32>,
    rows: Vec<Row>,
    /// The number of the last change of each row.
    changed: Vec<u64>,
    /// The number of the last change of all.
    last_change: u64,
    now: u64,
    totals: Totals,
}

/// Finds the group of each name.
pub(super) type GroupsOf = dyn Fn(&[&str]) -> Vec<String>;

impl Changes {
    /// Looks at the nodes of tables with this number, which are always in the same order. The time is in
    /// seconds since 1970.
    pub(super) fn look(
        &mut self,
        now: f64,
        generation: u64,
        nodes: &[NodeActivity],
        groups: &GroupsOf,
    ) {
        self.now = milliseconds(Some(now));
        if self.generation != Some(generation) || self.order.len() != nodes.len() {
            self.generation = Some(generation);
            self.list_names(nodes, groups);
        }
        self.last_change += 1;
        for ((place, known), changed) in
            self.order.iter().zip(&mut self.rows).zip(&mut self.changed)
        {
            let Some(node) = nodes.get(*place as usize) else {
                continue;
            };
            let next = row(node);
            if *known != next {
                *known = next;
                *changed = self.last_change;
            }
        }
        self.totals.states = [0; State::ALL.len()];
        for row in &self.rows {
            if let Some(count) = self.totals.states.get_mut(number(row.state)) {
                *count += 1;
            }
        }
        let mut took: Vec<u64> = self.rows.iter().filter_map(Row::took).collect();
        [self.totals.p50, self.totals.p99] = [50, 99].map(|share| percentile(&mut took, share));
    }

    /// What has become of packets.
    pub(super) fn counted(&mut self, interfaces: Vec<Counted>) {
        self.totals.interfaces = interfaces;
    }

    /// Lists the names anew, unless they are as they were.
    fn list_names(&mut self, nodes: &[NodeActivity], groups: &GroupsOf) {
        let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
        let groups = groups(&names);
        let mut order: Vec<(u32, &str, &str)> = (0..)
            .zip(groups.iter().zip(&names))
            .map(|(place, (group, name))| (place, group.as_str(), *name))
            .collect();
        order.sort_by(|(_, group, name), (_, other_group, other)| {
            let by_group = group.is_empty().cmp(&other_group.is_empty());
            let by_group = by_group.then_with(|| natural(group, other_group));
            by_group.then_with(|| natural(name, other))
        });
        let next = listed(nodes, &order);
        self.order = order.into_iter().map(|(place, ..)| place).collect();
        if next == self.names && self.list != 0 {
            return;
        }
        self.names = next;
        self.list = self.now.max(self.list + 1);
        self.rows = vec![Row::default(); self.order.len()];
        self.changed = vec![0; self.order.len()];
        self.last_change = 0;
    }

    /// What is new from a position on. All is new to the one who has another list; otherwise there are
    /// about `most` bytes of rows.
    pub(super) fn update(&self, from: Position, most: usize) -> Update {
        let knows_list = from.list == self.list;
        let (from, most) = if knows_list {
            (from, most)
        } else {
            (Position::default(), usize::MAX)
        };
        let pass = if from.node == 0 {
            self.last_change
        } else {
            from.pass
        };
        let mut position = Position {
            list: self.list,
            known: pass,
            pass,
            node: 0,
        };
        let mut rows = Rows::new(self.now);
        let all = (0..).zip(self.rows.iter().zip(&self.changed));
        let is_up_to_date = from.known >= self.last_change;
        for (node, (row, changed)) in all.skip(from.node as usize) {
            if is_up_to_date {
                break;
            }
            if *changed <= from.known {
                continue;
            }
            if rows.len() >= most {
                position = Position {
                    known: from.known,
                    node,
                    ..position
                };
                break;
            }
            rows.push(node, row);
        }
        Update {
            position,
            now: self.now,
            totals: self.totals.clone(),
            names: (!knows_list).then(|| self.names.clone()),
            rows: rows.into_bytes(),
        }
    }
}

/// The nodes in this order: each with its place, group and name.
fn listed(nodes: &[NodeActivity], order: &[(u32, &str, &str)]) -> Names {
    let mut names = Names::default();
    let mut winpes = HashMap::new();
    let mut before: Option<Named> = None;
    for (place, group, name) in order {
        let Some(node) = nodes.get(*place as usize) else {
            continue;
        };
        let count = u32::try_from(winpes.len()).unwrap_or(u32::MAX);
        let winpe = *winpes.entry(node.winpe.as_str()).or_insert_with(|| {
            names.winpes.push(shown(&node.winpe));
            count
        });
        let named = Named {
            name: shown(name),
            winpe,
            address: node.addresses.first().copied(),
            addresses: u32::try_from(node.addresses.len()).unwrap_or(u32::MAX),
        };
        names.push(&named, before.as_ref());
        before = Some(named);
        let group = shown(group);
        match names.groups.last_mut().filter(|(last, _)| *last == group) {
            Some((_, count)) => *count += 1,
            None => names.groups.push((group, 1)),
        }
    }
    names
}

/// The text as it may be seen, wherever it comes from.
fn shown(text: &str) -> String {
    visible(&printable(text.as_bytes())).into_owned()
}

/// The order in which people expect names: numbers within them count as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (left_text, left_rest) = groups::text_before_number(left);
        let (right_text, right_rest) = groups::text_before_number(right);
        let (left_number, left_end) = groups::number_at_start(left_rest);
        let (right_number, right_end) = groups::number_at_start(right_rest);
        let by_value = left_number.len().cmp(&right_number.len());
        let order = left_text
            .cmp(right_text)
            .then(by_value)
            .then_with(|| left_number.cmp(right_number));
        if order.is_ne() || (left_rest.is_empty() && right_rest.is_empty()) {
            // Names that differ in zeros alone are different all the same.
            return order.then_with(|| a.cmp(b));
        }
        (left, right) = (left_end, right_end);
    }
}

/// The least number that `share` of 100 do not exceed.
fn percentile(numbers: &mut [u64], share: usize) -> Option<u64> {
    let last = numbers.len().checked_sub(1)?;
    let place = (numbers.len() * share)
        .div_ceil(100)
        .saturating_sub(1)
        .min(last);
    let (_, at, _) = numbers.select_nth_unstable(place);
    Some(*at)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::api::storm::View;

    fn nodes(count: u32) -> Vec<NodeActivity> {
        let node = |n: u32| NodeActivity {
            node: format!("n{n}"),
            addresses: vec![Ipv4Addr::from(0x0a4d_0000 + n)],
            winpe: String::new(),
            state: State::Silent,
            reason: None,
            requests: 0,
            tries: 0,
            first: None,
            boot: None,
            last: None,
            answered: None,
            arch: None,
            loader: None,
            transfer: None,
            followed: true,
        };
        (0..count).map(node).collect()
    }

    fn ask(node: &mut NodeActivity, at: f64) {
        node.state = State::Answered;
        node.requests += 1;
        node.boot = node.boot.or(Some(at));
        node.last = Some(at);
    }

    fn one_group(names: &[&str]) -> Vec<String> {
        vec![String::new(); names.len()]
    }

    #[test]
    fn a_viewer_comes_to_know_all_in_small_pieces_while_nodes_go_on() {
        let mut all = nodes(1000);
        let mut changes = Changes::default();
        changes.look(2e9, 1, &all, &one_group);
        let mut view = View::default();
        assert!(view.take(changes.update(view.position, 100)));
        assert_eq!(view.nodes.len(), 1000);
        for node in &mut all {
            ask(node, 1e9);
        }
        changes.look(2e9, 1, &all, &one_group);
        let mut updates = 0;
        while view.position.known < changes.last_change {
            if updates % 10 == 0 {
                all.iter_mut()
                    .step_by(100)
                    .for_each(|node| ask(node, 1e9 + 1.0));
                changes.look(2e9, 1, &all, &one_group);
            }
            let update = changes.update(view.position, 1000);
            assert!(update.rows.len() < 1100 && update.names.is_none());
            assert!(view.take(update));
            updates += 1;
            assert!(updates < 100, "{:?}", view.position);
        }
        assert!(updates > 5);
        assert!(view.rows == changes.rows);
        let update = changes.update(view.position, 1000);
        assert!(update.rows.is_empty());
        assert_eq!(update.totals.states[number(State::Answered)], 1000);
    }

    #[test]
    fn names_are_listed_anew_only_if_they_are_others() {
        let mut changes = Changes::default();
        changes.look(2e9, 1, &nodes(12), &one_group);
        let mut view = View::default();
        assert!(view.take(changes.update(view.position, 0)));
        let names: Vec<_> = view.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names[..3], ["n0", "n1", "n2"]);
        assert_eq!(names[9..], ["n9", "n10", "n11"]);
        changes.look(2e9, 2, &nodes(12), &one_group);
        assert!(changes.update(view.position, 0).names.is_none());
        changes.look(2e9, 3, &nodes(13), &one_group);
        let update = changes.update(view.position, 0);
        assert!(update.names.is_some());
        assert!(view.take(update));
        assert_eq!(view.rows.len(), 13);
    }

    #[test]
    fn groups_come_in_their_order_and_those_without_one_last() {
        let groups = |names: &[&str]| {
            let group = |name: &&str| match *name {
                "n3" => String::new(),
                "n1" => "rack10".to_owned(),
                _ => "rack9".to_owned(),
            };
            names.iter().map(group).collect()
        };
        let mut changes = Changes::default();
        changes.look(2e9, 1, &nodes(4), &groups);
        let expected = [("rack9", 2), ("rack10", 1), ("", 1)];
        assert_eq!(
            changes.names.groups,
            expected.map(|(name, count)| (name.to_owned(), count))
        );
    }

    #[test]
    fn hostile_names_are_told_in_printable_letters() {
        let mut all = nodes(1);
        all[0].node = "n\x1b[2J\n<b>".to_owned();
        let mut changes = Changes::default();
        changes.look(2e9, 1, &all, &one_group);
        let names = changes.names.read().unwrap();
        assert_eq!(names[0].name, "n\\u{1b}[2J\\n<b>");
    }

    #[test]
    fn percentiles_are_those_of_the_list() {
        assert_eq!(percentile(&mut [], 50), None);
        assert_eq!(percentile(&mut [7], 99), Some(7));
        let mut numbers: Vec<_> = (1..=200).rev().collect();
        assert_eq!(percentile(&mut numbers, 50), Some(100));
        assert_eq!(percentile(&mut numbers, 99), Some(198));
    }
}
