//! What the resolver has said of the names that the hosts file lacks.
//!
//! Nothing that is served waits for it, and nothing is lost while it cannot be asked: a name keeps
//! the addresses that the resolver last gave until the resolver gives others, or says that there is
//! no such name.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::resolve::{Addresses, Lookup};

/// The names and what is known of each.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// By the name in lower case.
    known: HashMap<String, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    name: String,
    addresses: Vec<Ipv4Addr>,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// To be asked for.
    Asked,
    /// The addresses are the resolver's answer, which may be that there are none.
    Answered,
    /// The resolver could not be asked; the addresses are those of its last answer.
    Failed(String),
}

/// A name that the resolver could not be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// The addresses that it keeps, from before.
    pub kept: Vec<Ipv4Addr>,
}

impl Names {
    /// What is known of these names, all of which are to be asked for anew, and of no others.
    #[must_use]
    pub fn of<'a>(&self, names: impl Iterator<Item = &'a str>) -> Self {
        let known = names.map(|name| {
            let folded = name.to_ascii_lowercase();
            let addresses = self.known.get(&folded).map(|known| known.addresses.clone());
            let known = Known {
                name: name.to_owned(),
                addresses: addresses.unwrap_or_default(),
                state: State::Asked,
            };
            (folded, known)
        });
        Self {
            known: known.collect(),
        }
    }

    /// The addresses of a name.
    pub fn addresses(&self, name: &str) -> &[Ipv4Addr] {
        self.known
            .get(&name.to_ascii_lowercase())
            .map_or(&[], |known| &known.addresses)
    }

    /// The names to ask for, those that nothing is known of first: they are waited for.
    pub fn asked(&self) -> Vec<String> {
        let mut asked: Vec<_> = self.in_order(|known| known.state == State::Asked);
        asked.sort_by_key(|known| !known.addresses.is_empty());
        asked.iter().map(|known| known.name.clone()).collect()
    }

    /// The names that the resolver could not be asked for, in the alphabet's order.
    pub fn failed(&self) -> Vec<Failed> {
        let failed = self.in_order(|known| matches!(known.state, State::Failed(_)));
        let failed = failed.into_iter().filter_map(|known| match &known.state {
            State::Failed(reason) => Some(Failed {
                name: known.name.clone(),
                reason: reason.clone(),
                kept: known.addresses.clone(),
            }),
            _ => None,
        });
        failed.collect()
    }

    /// Takes an answer; true if the name has other addresses now. Of a name that nobody wants to
    /// know of any more, nothing is learnt.
    pub fn answer(&mut self, name: &str, answer: Addresses) -> bool {
        let Some(known) = self.known.get_mut(&name.to_ascii_lowercase()) else {
            return false;
        };
        let addresses = match answer {
            Lookup::Failed(reason) => {
                known.state = State::Failed(reason);
                return false;
            }
            Lookup::Found(addresses) => addresses,
            Lookup::Unknown => Vec::new(),
        };
        known.state = State::Answered;
        let changed = known.addresses != addresses;
        known.addresses = addresses;
        changed
    }

    fn in_order(&self, which: impl Fn(&Known) -> bool) -> Vec<&Known> {
        let mut names: Vec<_> = self.known.values().filter(|known| which(known)).collect();
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn found(address: Ipv4Addr) -> Addresses {
        Lookup::Found(vec![address])
    }

    fn failure() -> Addresses {
        Lookup::Failed("no answer".to_owned())
    }

    #[test]
    fn a_name_keeps_its_address_while_the_resolver_cannot_be_asked() {
        let mut names = Names::default().of(["a", "b", "c"].into_iter());
        assert_eq!(names.asked(), ["a", "b", "c"]);
        assert!(names.answer("A", found(A)));
        assert!(!names.answer("b", Lookup::Unknown));
        assert!(!names.answer("c", failure()));
        assert!(names.asked().is_empty());

        // A reload asks anew, and first for what is not known.
        let mut names = names.of(["A", "b", "c", "d"].into_iter());
        assert_eq!(names.asked(), ["b", "c", "d", "A"]);
        assert_eq!(names.addresses("a"), [A]);
        assert!(names.failed().is_empty());
        assert!(!names.answer("a", failure()));
        assert_eq!(names.addresses("a"), [A]);
        let failed = Failed {
            name: "A".to_owned(),
            reason: "no answer".to_owned(),
            kept: vec![A],
        };
        assert_eq!(names.failed(), [failed]);

        assert!(names.answer("a", found(B)));
        assert!(!names.answer("a", found(B)));
        assert_eq!((names.addresses("a"), names.failed()), (&[B][..], vec![]));
        assert!(names.answer("a", Lookup::Unknown));
        assert!(names.addresses("a").is_empty());
    }

    #[test]
    fn what_is_not_wanted_is_forgotten() {
        let mut names = Names::default().of(["a"].into_iter());
        assert!(names.answer("a", found(A)));
        let mut others = names.of(["b"].into_iter());
        assert!(!others.answer("a", found(A)));
        assert!(others.addresses("a").is_empty());
        assert_eq!(others.asked(), ["b"]);
    }
}
