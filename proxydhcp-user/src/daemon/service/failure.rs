//! What could not be put into service, be it an interface or tables, and when it is tried again.

use std::time::{Duration, Instant};

use crate::api::status::Unserved;
use crate::sys::interface::Interface;
use crate::text::with_causes;

/// The pause before the second try; each later one is twice as long.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

/// When something is to be tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pause: Duration,
    due: Instant,
}

impl Retry {
    /// After it has failed now, for the first time or as `before`.
    fn after(before: Option<&Self>, now: Instant) -> Self {
        let pause = before.map_or(SHORTEST, |before| LONGEST.min(before.pause * 2));
        Self {
            pause,
            due: now + pause,
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// It is due.
    pub(super) fn hurry(&mut self) {
        self.due = Instant::now();
    }
}

/// Tables that should be in service, and could not be installed: those of before answer.
pub(super) struct Uninstalled {
    /// What is told of it.
    pub(super) why: String,
    pub(super) retry: Retry,
}

impl Uninstalled {
    /// It has failed now, as it had `before`.
    pub(super) fn new(error: &anyhow::Error, before: Option<&Self>) -> Self {
        let before = before.map(|before| &before.retry);
        Self {
            why: with_causes(error),
            retry: Retry::after(before, Instant::now()),
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.retry.is_due(Instant::now())
    }
}

/// An interface that could not be served.
pub(super) struct Failure {
    /// The interface as it was then.
    interface: Interface,
    /// When it is to be tried again, if it does not change before.
    pub(super) retry: Retry,
    /// What is told of it.
    pub(super) unserved: Unserved,
}

impl Failure {
    /// Records a failure now, after the failure `before`.
    pub(super) fn new(
        interface: &Interface,
        error: &anyhow::Error,
        before: Option<&Self>,
        now: Instant,
    ) -> Self {
        let before = before.filter(|before| before.interface == *interface);
        Self {
            interface: interface.clone(),
            retry: Retry::after(before.map(|before| &before.retry), now),
            unserved: Unserved::failed(interface, error),
        }
    }

    /// Whether the failure is of this interface, unchanged, and need not be tried again yet.
    pub(super) fn stands(&self, interface: &Interface, now: Instant) -> bool {
        self.interface == *interface && !self.retry.is_due(now)
    }

    /// Whether the failure is of this interface, changed or not.
    pub(super) fn is_of(&self, interface: &Interface) -> bool {
        self.interface.index == interface.index
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::sys::interface::{self, AttachedXdp};

    fn interface() -> Interface {
        interface::tests::interface(7, "lan0", None)
    }

    #[test]
    fn pauses_grow_up_to_a_minute() {
        let (interface, mut now) = (interface(), Instant::now());
        let mut failure = Failure::new(&interface, &anyhow!("no"), None, now);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert!(failure.stands(&interface, now));
            pauses.push((failure.retry.due - now).as_secs());
            now = failure.retry.due;
            assert!(!failure.stands(&interface, now));
            failure = Failure::new(&interface, &anyhow!("no"), Some(&failure), now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn whatever_changes_about_it_is_tried_at_once_and_begins_anew() {
        type Change = fn(&mut Interface);
        let changes: [Change; 6] = [
            |it| it.index = 8,
            |it| it.name = "lan1".to_owned(),
            |it| it.mtu = 9000,
            |it| it.addresses.clear(),
            |it| it.in_service = false,
            |it| {
                it.xdp = Some(AttachedXdp {
                    program: 1,
                    mode: None,
                });
            },
        ];
        let now = Instant::now();
        for change in changes {
            let mut interface = interface();
            let first = Failure::new(&interface, &anyhow!("no"), None, now);
            let second = Failure::new(&interface, &anyhow!("no"), Some(&first), now);
            change(&mut interface);
            assert!(!second.stands(&interface, now), "{interface:?}");
            let third = Failure::new(&interface, &anyhow!("no"), Some(&second), now);
            assert_eq!(third.retry.due - now, SHORTEST);
        }
    }
}
