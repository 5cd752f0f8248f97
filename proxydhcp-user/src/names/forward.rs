//! The resolver's answers about names that the hosts file lacks.
//!
//! Serving never waits for them, and nothing is lost while the resolver cannot be asked: a name
//! keeps the addresses last given until the resolver gives others, or denies the name. A denial
//! takes effect once all names have been asked for, because a resolver that denies them all has
//! lost them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::names::resolver::{Addresses, Resolution};

/// How long the resolver may take for a name. After that, the look-up has failed.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The names and what is known about each.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// What is known, by the name in lower case.
    known: HashMap<String, Known>,
    /// How often the names have been read.
    round: u32,
    /// The number of names about which nothing is known yet.
    unheard: usize,
}

#[derive(Clone, Debug)]
struct Known {
    name: String,
    addresses: Vec<Ipv4Addr>,
    /// The round in which it was given each of them; 0 for those from an earlier process.
    since: Vec<u32>,
    state: State,
    /// When it was first asked for, until the resolver answers or fails.
    first_asked: Option<Instant>,
}

impl Known {
    /// Whether the resolver should be asked for it.
    fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked | State::Denied)
    }

    /// Whether any client may turn out to be this node.
    fn is_unheard(&self) -> bool {
        self.first_asked.is_some() && self.addresses.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The resolver should be asked.
    Asked,
    /// The resolver denies the name. The addresses are those of its previous answer, until all
    /// names have been asked for.
    Denied,
    /// The addresses are the resolver's answer, which may be none.
    Answered,
    /// The resolver could not be asked, for this reason. The addresses are those of its last
    /// answer.
    Failed(String),
}

/// A name that the resolver could not be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The name.
    pub name: String,
    /// The reason.
    pub reason: String,
    /// The addresses from before, which it keeps.
    pub kept: Vec<Ipv4Addr>,
}

impl Names {
    /// What is known about these names, and no others. All of them will be asked for anew.
    #[must_use]
    pub fn of<'a>(&self, names: impl Iterator<Item = &'a str>, now: Instant) -> Self {
        let known = names.map(|name| {
            let folded = name.to_ascii_lowercase();
            let before = self.known.get(&folded);
            let known = Known {
                name: name.to_owned(),
                addresses: before.map_or_else(Vec::new, |known| known.addresses.clone()),
                since: before.map_or_else(Vec::new, |known| known.since.clone()),
                state: State::Asked,
                first_asked: match before {
                    None => Some(now),
                    // The time stays, however often the files are read meanwhile.
                    Some(known) => known
                        .first_asked
                        .filter(|&first| now.saturating_duration_since(first) < PATIENCE),
                },
            };
            (folded, known)
        });
        let known: HashMap<_, _> = known.collect();
        let unheard = known.values().filter(|known| known.is_unheard()).count();
        Self {
            known,
            round: self.round + 1,
            unheard,
        }
    }

    /// Gives addresses from an answer to an earlier process to a name about which nothing is known.
    pub fn keep(&mut self, name: &str, addresses: Vec<Ipv4Addr>) {
        if let Some(known) = self.known.get_mut(&name.to_ascii_lowercase())
            && known.is_unheard()
            && !addresses.is_empty()
        {
            known.since = vec![0; addresses.len()];
            known.addresses = addresses;
            self.unheard -= 1;
        }
    }

    /// The names that have addresses, with the addresses, in alphabetical order.
    pub fn with_addresses(&self) -> impl Iterator<Item = (&str, &[Ipv4Addr])> {
        let names = self.in_order(|known| !known.addresses.is_empty());
        names
            .into_iter()
            .map(|known| (known.name.as_str(), known.addresses.as_slice()))
    }

    /// The number of names for which the resolver has neither answered nor failed.
    pub fn unheard(&self) -> usize {
        self.unheard
    }

    /// The addresses of a name.
    pub fn addresses(&self, name: &str) -> &[Ipv4Addr] {
        self.known
            .get(&name.to_ascii_lowercase())
            .map_or(&[], |known| &known.addresses)
    }

    /// The addresses of a name, and how early it was given each: of two names with one address, the
    /// one that had it first keeps it. Otherwise whoever may write one name could take over the
    /// address of another's node.
    pub fn claims(&self, name: &str) -> impl Iterator<Item = (Ipv4Addr, u32)> {
        let known = self.known.get(&name.to_ascii_lowercase());
        known.into_iter().flat_map(|known| {
            let addresses = known.addresses.iter().copied();
            addresses.zip(known.since.iter().copied())
        })
    }

    /// The names to ask for. Those about which nothing is known come first, because they are waited
    /// for.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = self.in_order(Known::is_asked);
        asked.sort_by_key(|known| !known.addresses.is_empty());
        asked.iter().map(|known| known.name.clone()).collect()
    }

    /// The names that the resolver could not be asked for, in alphabetical order.
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

    /// The names that the resolver says have no address, in alphabetical order. They may get one.
    pub fn without_address(&self) -> Vec<String> {
        let is_denied =
            |known: &Known| known.state == State::Answered && known.addresses.is_empty();
        let names = self.in_order(is_denied).into_iter();
        names.map(|known| known.name.clone()).collect()
    }

    /// The names to ask for, in no particular order, each with whether it has a known address.
    pub(crate) fn are_asked(&self) -> impl Iterator<Item = (bool, &str)> {
        let asked = self.known.values().filter(|known| known.is_asked());
        asked.map(|known| (!known.addresses.is_empty(), &*known.name))
    }

    /// For each failed name: the reason, whether it has no address from before, and the name, in no
    /// particular order.
    pub(crate) fn have_failed(&self) -> impl Iterator<Item = (&str, bool, &str)> {
        self.known.values().filter_map(|known| match &known.state {
            State::Failed(reason) => Some((&**reason, known.addresses.is_empty(), &*known.name)),
            _ => None,
        })
    }

    /// Whether the resolver has not yet given a definite answer for this name.
    pub(crate) fn is_open(&self, name: &str) -> bool {
        let known = self.known.get(&name.to_ascii_lowercase());
        known.is_some_and(|known| known.state != State::Answered)
    }

    /// Records an answer; true if the name has other addresses now, or if no name is unheard any
    /// longer. A denied name keeps its addresses until [`Names::settle`] or [`Names::doubt`]. An
    /// answer for a name that is no longer wanted is ignored.
    pub fn answer(&mut self, name: &str, answer: Addresses) -> bool {
        let round = self.round;
        let Some(known) = self.known.get_mut(&name.to_ascii_lowercase()) else {
            return false;
        };
        let was_unheard = known.is_unheard();
        known.first_asked = None;
        let mut changed = false;
        known.state = match answer {
            Resolution::Failed(reason) => State::Failed(reason),
            Resolution::Unknown if known.addresses.is_empty() => State::Answered,
            Resolution::Unknown => State::Denied,
            Resolution::Found(addresses) => {
                changed = known.addresses != addresses;
                known.since = addresses
                    .iter()
                    .map(|address| {
                        let before = known.addresses.iter().position(|before| before == address);
                        before
                            .and_then(|at| known.since.get(at).copied())
                            .unwrap_or(round)
                    })
                    .collect();
                known.addresses = addresses;
                State::Answered
            }
        };
        if was_unheard {
            self.unheard -= 1;
            changed |= self.unheard == 0;
        }
        changed
    }

    /// Whether any denied name still has addresses.
    pub fn has_denied(&self) -> bool {
        let mut known = self.known.values();
        known.any(|known| known.state == State::Denied)
    }

    /// Removes the addresses of the denied names.
    pub fn settle(&mut self) {
        for known in self.denied() {
            known.state = State::Answered;
            known.addresses.clear();
            known.since.clear();
        }
    }

    /// Rejects the denials for this reason: the names count as failed.
    pub fn doubt(&mut self, reason: &str) {
        for known in self.denied() {
            known.state = State::Failed(reason.to_owned());
        }
    }

    fn denied(&mut self) -> impl Iterator<Item = &mut Known> {
        let known = self.known.values_mut();
        known.filter(|known| known.state == State::Denied)
    }

    fn in_order(&self, which: impl Fn(&Known) -> bool) -> Vec<&Known> {
        let mut names: Vec<_> = self.known.values().filter(|known| which(known)).collect();
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        names
    }
}

/// States that clients without a record wait until the resolver has answered for this many more
/// `names`.
pub(crate) fn waiting(names: usize) -> String {
    format!("clients without a record wait until the resolver has answered; names to go: {names}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn found(address: Ipv4Addr) -> Addresses {
        Resolution::Found(vec![address])
    }

    fn failure() -> Addresses {
        Resolution::Failed("no answer".to_owned())
    }

    fn of(names: &Names, wanted: &[&str]) -> Names {
        names.of(wanted.iter().copied(), Instant::now())
    }

    #[test]
    fn a_name_keeps_its_address_while_the_resolver_cannot_be_asked() {
        let mut names = of(&Names::default(), &["a", "b", "c"]);
        assert_eq!(names.asked(), ["a", "b", "c"]);
        assert!(names.answer("A", found(A)));
        assert!(!names.answer("b", Resolution::Unknown));
        names.answer("c", failure());
        assert!(names.asked().is_empty());

        // A reload asks for all names anew, beginning with unknown ones.
        let mut names = of(&names, &["A", "b", "c", "d"]);
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
    }

    #[test]
    fn a_denied_name_loses_its_addresses_when_that_is_settled() {
        let mut names = of(&Names::default(), &["a", "b"]);
        for name in ["a", "b"] {
            names.answer(name, found(A));
        }
        assert!(!names.answer("a", Resolution::Unknown) && names.has_denied());
        assert_eq!(
            (names.addresses("a"), names.asked()),
            (&[A][..], vec!["a".to_owned()])
        );
        names.settle();
        assert!(names.addresses("a").is_empty() && names.failed().is_empty());
        // It may get one, and is asked for again.
        assert_eq!(names.without_address(), ["a"]);

        names.answer("b", Resolution::Unknown);
        names.doubt("not believed");
        assert!(!names.has_denied());
        assert_eq!(names.failed()[0].kept, [A]);
        assert_eq!(
            names.with_addresses().collect::<Vec<_>>(),
            [("b", &[A][..])]
        );
    }

    #[test]
    fn a_name_is_unheard_until_its_first_answer_or_failure() {
        let mut names = of(&Names::default(), &["a", "b", "c", "d"]);
        assert_eq!(names.unheard(), 4);
        names.keep("A", vec![A]);
        names.keep("a", vec![B]);
        names.keep("b", vec![]);
        names.keep("stranger", vec![B]);
        assert_eq!((names.unheard(), names.addresses("a")), (3, &[A][..]));
        assert!(names.answer("b", found(A)));
        assert!(!names.answer("c", failure()));
        // The caller must learn that nobody needs to wait any longer.
        assert!(names.answer("d", Resolution::Unknown));
        assert_eq!(names.unheard(), 0);
        assert!(!names.answer("d", failure()));

        // Only a new name is waited for, and not for ever if the files are read again and again.
        let start = Instant::now();
        let wanted = || ["a", "b", "c", "d", "e"].into_iter();
        let names = names.of(wanted(), start);
        assert_eq!(names.unheard(), 1);
        let names = names.of(wanted(), start + PATIENCE / 2);
        assert_eq!(names.unheard(), 1);
        assert_eq!(names.of(wanted(), start + PATIENCE).unheard(), 0);
    }

    #[test]
    fn what_is_not_wanted_is_forgotten() {
        let mut names = of(&Names::default(), &["a"]);
        assert!(names.answer("a", found(A)));
        let mut others = of(&names, &["b"]);
        assert!(!others.answer("a", found(A)));
        assert!(others.addresses("a").is_empty());
        assert_eq!(others.asked(), ["b"]);
    }
}
