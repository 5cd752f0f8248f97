//! How many answers a second.

use std::collections::VecDeque;

use crate::api::storm::View;

/// The number of rates that are kept.
const KEPT: usize = 240;

/// The answers a second, on each interface and over time.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// When the counters were read last, in milliseconds, and what they were.
    last: Option<(u64, Vec<(String, u64)>)>,
    /// By interface, now.
    pub(super) now: Vec<(String, u64)>,
    /// Of all interfaces together, the newest first.
    pub(super) history: VecDeque<u64>,
}

impl Rates {
    /// Reads the counters.
    pub(super) fn count(&mut self, view: &View) {
        let interfaces = view.totals.interfaces.iter();
        let counts: Vec<_> = interfaces
            .map(|it| (it.name.clone(), it.answered))
            .collect();
        if let Some((then, before)) = &self.last {
            let milliseconds = view.now.saturating_sub(*then);
            if milliseconds == 0 {
                return;
            }
            let rate = |name: &String, count: u64| {
                let (_, was) = before.iter().find(|(other, _)| other == name)?;
                // A daemon that was started anew counts anew.
                Some(count.saturating_sub(*was).saturating_mul(1000) / milliseconds)
            };
            let rates = counts.iter();
            self.now = rates
                .map(|(name, count)| (name.clone(), rate(name, *count).unwrap_or(0)))
                .collect();
            self.history.push_front(self.total());
            self.history.truncate(KEPT);
        }
        self.last = Some((view.now, counts));
    }

    /// Of all interfaces together.
    pub(super) fn total(&self) -> u64 {
        self.now.iter().map(|(_, rate)| rate).sum()
    }

    /// Of one interface.
    pub(super) fn of(&self, interface: &str) -> u64 {
        let found = self.now.iter().find(|(name, _)| name == interface);
        found.map_or(0, |(_, rate)| *rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::storm::Counted;

    fn view(now: u64, answered: u64) -> View {
        let mut view = View {
            now,
            ..View::default()
        };
        view.totals.interfaces = vec![Counted {
            name: "eth1".to_owned(),
            answered,
            ..Counted::default()
        }];
        view
    }

    #[test]
    fn rates_are_what_came_in_between() {
        let mut rates = Rates::default();
        rates.count(&view(1000, 500));
        assert_eq!((rates.total(), rates.history.len()), (0, 0));
        rates.count(&view(1500, 600));
        assert_eq!(
            (rates.total(), rates.of("eth1"), rates.of("eth2")),
            (200, 200, 0)
        );
        rates.count(&view(2500, 0));
        assert_eq!(rates.total(), 0);
        assert_eq!(rates.history, [0, 200]);
    }
}
