//! What a storm found.

use std::time::Duration;

use crate::Firmware;

/// What became of one client.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whose clock it kept.
    pub firmware: Firmware,
    /// How often it had asked when its answer came, or when it gave up.
    pub tries: usize,
    /// From its last request to the answer's arrival; none when it gave up.
    pub latency: Option<Duration>,
    /// From its first request to the answer's arrival; none when it gave up.
    pub waited: Option<Duration>,
    /// What was wrong with the answer.
    pub fault: Option<String>,
}

/// What became of all of them.
#[derive(Clone, Debug)]
pub struct StormReport {
    /// In the order of the clients.
    pub outcomes: Vec<Outcome>,
    /// Answers to clients that had one already: late answers to requests that were repeated, or
    /// a daemon that answers twice.
    pub duplicates: usize,
    /// Frames from port 4011 that answer no client of the storm.
    pub strays: usize,
    /// The first answer that came.
    pub sample: Option<Vec<u8>>,
    /// How many requests all of them have sent.
    pub asked: usize,
    /// From the first request to the last answer, or to the end of all patience.
    pub took: Duration,
}

/// Counts and latencies of some or all clients. Each client is in one of the four counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All of them.
    pub clients: usize,
    /// Answered rightly before they asked again.
    pub first_try: usize,
    /// Answered rightly after they had asked again.
    pub retried: usize,
    /// Not answered when they gave up.
    pub never: usize,
    /// Answered wrongly.
    pub wrong: usize,
    /// The latency that half of the right answers kept.
    pub p50: Option<Duration>,
    /// The latency that 99 of 100 right answers kept.
    pub p99: Option<Duration>,
    /// The longest latency of a right answer.
    pub max: Option<Duration>,
}

impl StormReport {
    /// Sums up the clients of one firmware, or all.
    pub fn summary(&self, firmware: Option<Firmware>) -> Summary {
        let mut summary = Summary::default();
        let mut latencies = Vec::new();
        let chosen = |outcome: &&Outcome| firmware.is_none_or(|kind| kind == outcome.firmware);
        for outcome in self.outcomes.iter().filter(chosen) {
            summary.clients += 1;
            match (outcome.latency, &outcome.fault) {
                (None, _) => summary.never += 1,
                (Some(_), Some(_)) => summary.wrong += 1,
                (Some(latency), None) => {
                    latencies.push(latency);
                    *if outcome.tries == 1 {
                        &mut summary.first_try
                    } else {
                        &mut summary.retried
                    } += 1;
                }
            }
        }
        latencies.sort_unstable();
        summary.p50 = percentile(&latencies, 50);
        summary.p99 = percentile(&latencies, 99);
        summary.max = latencies.last().copied();
        summary
    }

    /// Whether each client had one right answer to its first request, and nobody else had any.
    pub fn is_flawless(&self) -> bool {
        let summary = self.summary(None);
        summary.first_try == summary.clients && self.duplicates == 0 && self.strays == 0
    }

    /// The first few faults, for a failure message.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        self.outcomes
            .iter()
            .filter_map(|outcome| outcome.fault.as_deref())
            .take(5)
    }
}

/// The nearest-rank percentile of sorted values.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let milliseconds: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(
            percentile(&milliseconds, 50),
            Some(Duration::from_millis(100))
        );
        assert_eq!(
            percentile(&milliseconds, 99),
            Some(Duration::from_millis(198))
        );
        assert_eq!(
            percentile(&milliseconds[..1], 50),
            Some(Duration::from_millis(1))
        );
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn each_client_is_counted_once() {
        let outcome = |firmware, tries, latency: Option<u64>, fault: Option<&str>| Outcome {
            firmware,
            tries,
            latency: latency.map(Duration::from_micros),
            waited: latency.map(Duration::from_micros),
            fault: fault.map(str::to_owned),
        };
        let report = StormReport {
            outcomes: vec![
                outcome(Firmware::Bios, 1, Some(10), None),
                outcome(Firmware::Uefi, 1, Some(20), None),
                outcome(Firmware::Uefi, 2, Some(30), None),
                outcome(Firmware::Uefi, 4, None, None),
                outcome(Firmware::Uefi, 1, Some(9999), Some("xid")),
            ],
            duplicates: 0,
            strays: 0,
            sample: None,
            asked: 9,
            took: Duration::ZERO,
        };
        let all = report.summary(None);
        assert_eq!(
            (
                all.clients,
                all.first_try,
                all.retried,
                all.never,
                all.wrong
            ),
            (5, 2, 1, 1, 1)
        );
        assert_eq!(all.max, Some(Duration::from_micros(30)));
        assert_eq!(report.summary(Some(Firmware::Bios)).clients, 1);
        assert!(!report.is_flawless());
    }
}
