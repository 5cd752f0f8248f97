//! Interfaces that are built on others: which frames belong to which.
//!
//! A bond, team or bridge has members, and all their frames are also its own. A VLAN, macvlan or
//! ipvlan has a lower interface, and some of that one's frames are also its own.

use super::Interface;

/// The kind of an interface, as far as it determines how frames come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One end of a pair.
    Veth,
    /// Several members in one; native XDP runs on the members.
    Bond,
    /// Anything else: a card, a bridge, a VLAN.
    Other,
}

/// The maximum number of interfaces on top of each other, as in the kernel.
const HIGHEST: usize = 8;

impl Interface {
    /// The interfaces whose drivers run an XDP program that is attached to this one: the members of
    /// a bond, otherwise itself.
    pub fn carriers(&self, all: &[Self]) -> Vec<Self> {
        let is_carrier = |it: &&Self| match self.kind {
            Kind::Bond => it.controller == Some(self.index),
            Kind::Veth | Kind::Other => it.index == self.index,
        };
        all.iter().filter(is_carrier).cloned().collect()
    }

    /// Whether requests to this interface also arrive on one of `others`, which should answer them.
    /// A member leaves them to the whole, and a VLAN on the member leaves them to what the member
    /// is part of.
    pub fn is_covered(&self, others: &[u32], all: &[Self]) -> bool {
        let find = |index: Option<u32>| all.iter().find(|it| Some(it.index) == index);
        let whole = find(self.controller).is_some_and(|controller| {
            let mut stood_on = all.iter().filter(|it| others.contains(&it.index));
            stood_on.any(|other| other.stands_on(controller.index, all, HIGHEST))
        });
        whole || self.is_part_of(others, all, HIGHEST)
    }

    /// Whether packets that arrive by one of `others` may be its own: it is one of them, or built on
    /// one.
    pub fn is_reached_by(&self, others: &[u32], all: &[Self]) -> bool {
        others
            .iter()
            .any(|other| self.stands_on(*other, all, HIGHEST))
    }

    /// Whether it is the interface with this number, or built on it.
    fn stands_on(&self, index: u32, all: &[Self], height: usize) -> bool {
        self.index == index
            || height > 0
                && self
                    .below(all)
                    .any(|below| below.stands_on(index, all, height - 1))
    }

    /// Whether it, or anything it is built on, is part of one of the `others`.
    fn is_part_of(&self, others: &[u32], all: &[Self], height: usize) -> bool {
        self.lower.is_some_and(|lower| others.contains(&lower))
            || height > 0
                && self
                    .below(all)
                    .any(|below| below.is_part_of(others, all, height - 1))
    }

    /// The interfaces directly below it: its lower interface, or its members.
    fn below<'a>(&self, all: &'a [Self]) -> impl Iterator<Item = &'a Self> {
        let (index, lower) = (self.index, self.lower);
        let is_below = move |it: &&Self| Some(it.index) == lower || it.controller == Some(index);
        all.iter().filter(is_below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::interface::tests::interface;

    /// Two cards in a bond, a bridge on that, a VLAN of the bridge, and a macvlan of the VLAN.
    fn tower() -> Vec<Interface> {
        let of = |controller, it| Interface { controller, ..it };
        vec![
            of(Some(3), interface(1, "eth0", None)),
            of(Some(3), interface(2, "eth1", None)),
            Interface {
                kind: Kind::Bond,
                ..of(Some(4), interface(3, "bond0", None))
            },
            interface(4, "br0", None),
            interface(5, "br0.7", Some(4)),
            interface(6, "mv0", Some(5)),
            interface(7, "eth2", None),
        ]
    }

    fn covered(all: &[Interface], wanted: &[u32]) -> Vec<u32> {
        let is_covered = |it: &&Interface| wanted.contains(&it.index) && it.is_covered(wanted, all);
        all.iter().filter(is_covered).map(|it| it.index).collect()
    }

    #[test]
    fn of_interfaces_that_stand_on_each_other_one_answers() {
        let all = tower();
        assert_eq!(covered(&all, &[1, 2, 3, 4, 5, 6, 7]), [1, 2, 3, 5, 6]);
        // Members leave requests to the whole, at any height.
        assert_eq!(covered(&all, &[1, 3]), [1]);
        assert_eq!(covered(&all, &[2, 4]), [2]);
        assert_eq!(covered(&all, &[1, 6]), [1]);
        // Interfaces on a member leave requests to what the member is part of, at any depth.
        assert_eq!(covered(&all, &[4, 6]), [6]);
        // Unrelated interfaces do not affect each other.
        for wanted in [&[1, 2][..], &[1, 7], &[6], &[5, 7]] {
            assert!(covered(&all, wanted).is_empty(), "{wanted:?}");
        }
    }

    #[test]
    fn a_bond_has_the_program_run_on_its_members() {
        let all = tower();
        let names = |index: usize| -> Vec<_> {
            let carriers = all[index].carriers(&all).into_iter();
            carriers.map(|carrier| carrier.name).collect()
        };
        assert_eq!(names(2), ["eth0", "eth1"]);
        for (at, name) in [(0, "eth0"), (3, "br0"), (4, "br0.7"), (6, "eth2")] {
            assert_eq!(names(at), [name]);
        }
    }

    /// A list taken while interfaces moved may be inconsistent.
    #[test]
    fn what_stands_on_itself_is_no_endless_walk() {
        let mut all = tower();
        all[2].lower = Some(6);
        all[3].controller = Some(4);
        assert!(!covered(&all, &[7]).contains(&7));
        covered(&all, &[1, 2, 3, 4, 5, 6]);
    }
}
