//! The results of a storm.

use std::time::Duration;

use crate::Firmware;

/// The outcome for one client.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The firmware whose retry times it used.
    pub firmware: Firmware,
    /// The number of requests it had sent when its answer came, or when it gave up.
    pub tries: usize,
    /// The time from its last request to the answer's arrival; `None` if it gave up.
    pub latency: Option<Duration>,
    /// The time from its first request to the answer's arrival; `None` if it gave up.
    pub waited: Option<Duration>,
    /// What was wrong with the answer.
    pub fault: Option<String>,
}

/// The outcome of the storm.
#[derive(Clone, Debug)]
pub struct StormReport {
    /// The outcomes, in the order of the clients.
    pub outcomes: Vec<Outcome>,
    /// The number of answers to clients that had one already, either late answers to repeated
    /// requests, or those of a daemon that answers twice.
    pub duplicates: usize,
    /// The number of frames from port 4011 that answer no client of the storm.
    pub strays: usize,
    /// The first answer that came.
    pub sample: Option<Vec<u8>>,
    /// The number of requests that all clients sent.
    pub asked: usize,
    /// The time from the first request to the last answer, or until the last client gave up.
    pub took: Duration,
}

/// Counts and latencies of some or all clients. Each client is in exactly one of the four counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of clients.
    pub clients: usize,
    /// Clients with a right answer before they repeated the request.
    pub first_try: usize,
    /// Clients with a right answer after they repeated the request.
    pub retried: usize,
    /// Clients without an answer when they gave up.
    pub never: usize,
    /// Clients with a wrong answer.
    pub wrong: usize,
    /// The median latency of right answers.
    pub p50: Option<Duration>,
    /// The 99th percentile of the latency of right answers.
    pub p99: Option<Duration>,
    /// The maximum latency of right answers.
    pub max: Option<Duration>,
}

impl StormReport {
    /// Summarises the clients of one firmware, or all clients.
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

    /// Whether each client got exactly one right answer to its first request, and no other frame
    /// was answered.
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
pub fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
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
