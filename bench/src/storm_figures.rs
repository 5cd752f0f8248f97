//! Converts a boot storm's outcomes into figures for the results.

use std::time::Duration;

use crate::results::Storm;
use proxydhcp_clients::{StormReport, percentile};

const FIRST_SECOND: Duration = Duration::from_secs(1);

impl Storm {
    pub(crate) fn new(contender: &str, report: &StormReport) -> Self {
        let clients = report.outcomes.len();
        let wrong = report.outcomes.iter().filter(|o| o.fault.is_some()).count();
        let mut waited: Vec<Duration> = report
            .outcomes
            .iter()
            .filter(|outcome| outcome.fault.is_none())
            .filter_map(|outcome| outcome.waited)
            .collect();
        waited.sort_unstable();
        let percent = |percent| percentile(&waited, percent).map(milliseconds);
        let by_share = (1..=100).map_while(|percent| {
            let rank = (clients * percent).div_ceil(100);
            waited.get(rank.checked_sub(1)?).copied().map(milliseconds)
        });
        Self {
            contender: contender.to_owned(),
            clients,
            first_second: waited.iter().filter(|time| **time <= FIRST_SECOND).count(),
            never: clients - wrong - waited.len(),
            wrong,
            p50_ms: percent(50),
            p99_ms: percent(99),
            max_ms: waited.last().copied().map(milliseconds),
            percent_answered_by_ms: by_share.collect(),
        }
    }
}

/// Rounds to microseconds; the kernel's timestamps mean no more than that.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxydhcp_clients::{Firmware, Outcome};

    #[test]
    fn every_client_is_in_the_figures_once() {
        let outcome = |waited: Option<u64>, fault: Option<&str>| Outcome {
            firmware: Firmware::Uefi,
            tries: 1,
            latency: None,
            waited: waited.map(Duration::from_millis),
            fault: fault.map(str::to_owned),
        };
        let report = StormReport {
            outcomes: vec![
                outcome(Some(1), None),
                outcome(Some(2), None),
                outcome(Some(1500), None),
                outcome(None, None),
                outcome(Some(1), Some("xid")),
            ],
            duplicates: 0,
            strays: 0,
            sample: None,
            asked: 0,
            took: Duration::ZERO,
        };
        let storm = Storm::new("kernel", &report);
        assert_eq!(
            (storm.clients, storm.first_second, storm.never, storm.wrong),
            (5, 2, 1, 1)
        );
        assert_eq!(storm.p50_ms, Some(2.0));
        assert_eq!(storm.max_ms, Some(1500.0));
        let curve = &storm.percent_answered_by_ms;
        assert_eq!(curve.len(), 60, "three of five clients");
        assert_eq!(
            (curve[0], curve[20], curve[40], curve[59]),
            (1.0, 2.0, 1500.0, 1500.0)
        );
        let json = serde_json::to_string(&storm).unwrap();
        assert_eq!(serde_json::from_str::<Storm>(&json).unwrap(), storm);
    }
}
