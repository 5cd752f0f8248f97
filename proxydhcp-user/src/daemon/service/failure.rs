//! Interfaces that cannot be served, and when they are tried again.

use std::time::{Duration, Instant};

use crate::api::status::Unserved;
use crate::sys::interface::Interface;

/// The pause before the second try; each later one is twice as long.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

/// An interface that could not be served.
pub(super) struct Failure {
    /// The interface as it was then.
    interface: Interface,
    pause: Duration,
    /// When to try it again, if it does not change before.
    pub(super) due: Instant,
    /// What the status shows about it.
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
        let pause = match before {
            Some(before) if before.interface == *interface => LONGEST.min(before.pause * 2),
            _ => SHORTEST,
        };
        Self {
            interface: interface.clone(),
            pause,
            due: now + pause,
            unserved: Unserved::failed(interface, error),
        }
    }

    /// Whether the failure is of this interface, unchanged, and need not be tried again yet.
    pub(super) fn stands(&self, interface: &Interface, now: Instant) -> bool {
        self.interface == *interface && now < self.due
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
            pauses.push((failure.due - now).as_secs());
            now = failure.due;
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
            assert_eq!(third.due - now, SHORTEST);
        }
    }
}
