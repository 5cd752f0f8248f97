//! The names of clients whose address leads to no record, if the policy is to look them up.
//!
//! A name is remembered for a while, and leads to a record like a name in the hosts file. As source
//! addresses can be forged, the number of remembered addresses is bounded, and those without a name
//! are forgotten first.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::names::resolver::Resolution;

/// The number of addresses that are remembered.
const REMEMBERED: usize = 1 << 16;

/// How long a name is remembered.
const FOUND_FOR: Duration = Duration::from_mins(10);

/// How long it is remembered that an address has no name.
const UNKNOWN_FOR: Duration = Duration::from_mins(1);

/// How long it is remembered that the resolver could not be asked. Firmware tries for 10 s.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// The results of the look-ups.
#[derive(Clone, Debug, Default)]
pub struct LookedUp {
    known: HashMap<Ipv4Addr, Known>,
    /// The known addresses with a name, oldest first.
    named: VecDeque<Ipv4Addr>,
    /// The known addresses without a name, oldest first.
    nameless: VecDeque<Ipv4Addr>,
    counts: Counts,
    /// Whether clients that turn out to have no record are served, too.
    serves_strangers: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    asked: u64,
    found: u64,
    unknown: u64,
    failed: u64,
}

#[derive(Clone, Debug)]
struct Known {
    name: Option<String>,
    /// Whether there was an answer, be it that the resolver could not be asked.
    is_answered: bool,
    /// When the address may be looked up again.
    until: Instant,
}

impl LookedUp {
    /// Serves clients that turn out to have no record, too, from now on, or does not.
    pub fn serve_strangers(&mut self, serves: bool) {
        self.serves_strangers = serves;
    }

    /// Whether the name of `address` should be looked up now. If so, it is not asked for again
    /// until the answer comes.
    pub fn is_to_be_asked(&mut self, address: Ipv4Addr, now: Instant) -> bool {
        if self
            .known
            .get(&address)
            .is_some_and(|known| now < known.until)
        {
            return false;
        }
        self.counts.asked += 1;
        let asked = Known {
            name: None,
            is_answered: false,
            until: now + UNKNOWN_FOR,
        };
        self.remember(address, asked);
        true
    }

    /// Records an answer; true if the client may be served now.
    pub fn answer(&mut self, address: Ipv4Addr, answer: Resolution<String>, now: Instant) -> bool {
        let (name, time, count) = match answer {
            Resolution::Found(name) => (Some(name), FOUND_FOR, &mut self.counts.found),
            Resolution::Unknown => (None, UNKNOWN_FOR, &mut self.counts.unknown),
            Resolution::Failed(_) => (None, FAILED_FOR, &mut self.counts.failed),
        };
        *count += 1;
        let found = name.is_some();
        let answered = Known {
            name,
            is_answered: true,
            until: now + time,
        };
        self.remember(address, answered);
        found || self.serves_strangers
    }

    /// Forgets results that are too old; true if a client was served because of one of them.
    pub fn forget_old(&mut self, now: Instant) -> bool {
        self.forget(|known| known.until <= now)
    }

    /// Forgets addresses without a name, because they may have one after a reload.
    pub fn forget_nameless(&mut self) {
        self.forget(|known| known.name.is_none());
    }

    fn forget(&mut self, which: impl Fn(&Known) -> bool) -> bool {
        let mut served = false;
        let serves_strangers = self.serves_strangers;
        self.known.retain(|_, known| {
            let forget = which(known);
            served |= forget && (known.name.is_some() || serves_strangers && known.is_answered);
            !forget
        });
        for order in [&mut self.named, &mut self.nameless] {
            order.retain(|address| self.known.contains_key(address));
        }
        served
    }

    /// The result for the address: `None` if it was not looked up, else its name, if it has one.
    pub fn of(&self, address: Ipv4Addr) -> Option<Option<&str>> {
        self.known.get(&address).map(|known| known.name.as_deref())
    }

    /// The addresses that have names, oldest first.
    pub fn named(&self) -> impl Iterator<Item = (Ipv4Addr, &str)> {
        self.named.iter().filter_map(|&address| {
            let name = self.known.get(&address)?.name.as_deref()?;
            Some((address, name))
        })
    }

    /// The addresses that were looked up and are to be served even if no record is found for them, in
    /// ascending order.
    pub fn strangers(&self) -> Vec<Ipv4Addr> {
        let known = self.known.iter().filter(|_| self.serves_strangers);
        let answered = known.filter(|(_, known)| known.is_answered);
        let mut strangers: Vec<_> = answered.map(|(address, _)| *address).collect();
        strangers.sort_unstable();
        strangers
    }

    fn remember(&mut self, address: Ipv4Addr, known: Known) {
        let is_named = known.name.is_some();
        let (to, other) = if is_named {
            (&mut self.named, &mut self.nameless)
        } else {
            (&mut self.nameless, &mut self.named)
        };
        match self.known.insert(address, known) {
            Some(before) if before.name.is_some() == is_named => return,
            Some(_) => other.retain(|known| *known != address),
            None => {}
        }
        to.push_back(address);
        if self.known.len() > REMEMBERED {
            let oldest = self.nameless.pop_front();
            if let Some(oldest) = oldest.or_else(|| self.named.pop_front()) {
                self.known.remove(&oldest);
            }
        }
    }
}

/// What has become of clients without a record whose names are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupStatus {
    /// The number of addresses looked up.
    pub asked: u64,
    /// The number of addresses with a name.
    pub found: u64,
    /// The number of addresses without a name.
    pub unknown: u64,
    /// The number of addresses for which the resolver could not be asked.
    pub failed: u64,
    /// The number of requests whose address was not looked up because too many were waiting.
    pub dropped: u64,
    /// The number of addresses remembered, with or without a name.
    pub remembered: usize,
}

impl LookupStatus {
    /// The current status, with `dropped` requests whose address was not looked up.
    pub fn new(looked_up: &LookedUp, dropped: u64) -> Self {
        let counts = looked_up.counts;
        Self {
            asked: counts.asked,
            found: counts.found,
            unknown: counts.unknown,
            failed: counts.failed,
            dropped,
            remembered: looked_up.known.len(),
        }
    }
}

impl fmt::Display for LookupStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "clients without a record: {} looked up, {} with a name, {} without, {} failed; {} \
             remembered",
            self.asked, self.found, self.unknown, self.failed, self.remembered
        )?;
        if self.dropped > 0 {
            write!(
                f,
                "; NOT looked up, because too many were waiting: {}",
                self.dropped
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const C: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

    fn name(name: &str) -> Resolution<String> {
        Resolution::Found(name.to_owned())
    }

    #[test]
    fn an_address_is_asked_for_once_until_the_answer_is_too_old() {
        let start = Instant::now();
        let mut known = LookedUp::default();
        for address in [A, B, C] {
            assert!(known.is_to_be_asked(address, start));
            assert!(!known.is_to_be_asked(address, start));
        }
        assert!(known.answer(A, name("a"), start));
        assert!(!known.answer(B, Resolution::Unknown, start));
        assert!(!known.answer(C, Resolution::Failed("dead".to_owned()), start));
        let asked = |known: &mut LookedUp, at| {
            [A, B, C].map(|address| known.is_to_be_asked(address, start + at))
        };
        assert_eq!(asked(&mut known, Duration::from_secs(4)), [false; 3]);
        assert_eq!(asked(&mut known, FAILED_FOR), [false, false, true]);
        assert_eq!(asked(&mut known, UNKNOWN_FOR), [false, true, false]);
        assert_eq!(known.named().collect::<Vec<_>>(), [(A, "a")]);
        assert!(known.forget_old(start + FOUND_FOR));
        assert_eq!(known.named().count(), 0);
        assert_eq!(asked(&mut known, FOUND_FOR), [true; 3]);
    }

    #[test]
    fn a_reload_forgets_who_has_no_name() {
        let now = Instant::now();
        let mut known = LookedUp::default();
        known.answer(A, name("a"), now);
        known.answer(B, Resolution::Unknown, now);
        known.forget_nameless();
        assert!(!known.is_to_be_asked(A, now));
        assert!(known.is_to_be_asked(B, now));
    }

    #[test]
    fn the_oldest_are_forgotten_where_there_are_too_many() {
        let now = Instant::now();
        let mut known = LookedUp::default();
        let first = u32::from(A);
        let more = u32::try_from(REMEMBERED).unwrap() + 10;
        for address in first..first + more {
            known.answer(address.into(), name("a"), now);
        }
        assert_eq!(
            (known.known.len(), known.named.len()),
            (REMEMBERED, REMEMBERED)
        );
        assert!(known.is_to_be_asked(A, now));
        assert!(!known.is_to_be_asked((first + more - 1).into(), now));
    }

    #[test]
    fn forged_addresses_do_not_displace_clients_with_names() {
        let now = Instant::now();
        let mut known = LookedUp::default();
        known.is_to_be_asked(A, now);
        known.answer(A, name("a"), now);
        let first = u32::from(B);
        let more = u32::try_from(REMEMBERED).unwrap() + 10;
        for address in first..first + more {
            known.is_to_be_asked(address.into(), now);
            known.answer(address.into(), Resolution::Unknown, now);
        }
        assert_eq!(known.named().collect::<Vec<_>>(), [(A, "a")]);
        assert_eq!(known.known.len(), REMEMBERED);
        assert_eq!(known.nameless.len(), REMEMBERED - 1);
    }
}
