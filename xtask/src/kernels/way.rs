//! The ways in which the daemon serves a card, and the results of a storm.

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_clients::StormReport;
use serde_json::Value;

/// A way in which the daemon serves the card.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) name: &'static str,
    /// The daemon's arguments.
    pub(super) serve: &'static str,
    drops: Drops,
}

/// What becomes of replies for which the card has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drops {
    /// They are sent later.
    None,
    /// The driver drops them, and counts them for the daemon.
    Told,
    /// The network core drops them, and counts them unless it is old.
    Silent,
}

/// Each way that a request can take, and the daemon's own choice.
pub(super) const WAYS: [Way; 5] = [
    Way {
        name: "native",
        serve: "--path kernel --xdp-mode native",
        drops: Drops::Told,
    },
    Way {
        name: "generic",
        serve: "--path kernel --xdp-mode generic",
        drops: Drops::Silent,
    },
    Way {
        name: "af-xdp",
        serve: "--path af-xdp",
        drops: Drops::None,
    },
    Way {
        name: "raw",
        serve: "--path raw",
        drops: Drops::None,
    },
    Way {
        name: "auto",
        serve: "",
        drops: Drops::None,
    },
];

/// What the daemon and the wire counted during a storm.
pub(super) struct Counts {
    /// The daemon's description of how it serves the card.
    datapath: String,
    /// Requests that arrived.
    received: u64,
    /// Requests that arrived when a ring was full: the guest was slower than the clients.
    lost: u64,
    /// Replies that were sent, as far as the daemon knows.
    answered: u64,
    /// Replies that were not sent.
    unsent: u64,
    /// Replies that the driver or the network core dropped, by their statistics.
    dropped: u64,
    /// Frames that left the card.
    left: u64,
}

impl Counts {
    /// The counts of the daemon by its status of the interface, and those of the card.
    pub(super) fn new(status: &Value, dropped: u64, left: u64) -> Result<Self> {
        let count = |name: &str| {
            let count = status.pointer(&format!("/counters/{name}"));
            let count = count.and_then(Value::as_u64);
            count.with_context(|| format!("no {name} in {status}"))
        };
        let word = |name| status.get(name).and_then(Value::as_str);
        let words: Vec<&str> = ["datapath", "mode"].into_iter().filter_map(word).collect();
        let mut datapath = words.join(" ");
        if status.get("zero_copy") == Some(&Value::Bool(true)) {
            datapath.push_str(", zero-copy");
        }
        Ok(Self {
            datapath,
            // What the program leaves to the daemon is counted as received twice.
            received: count("received")? - count("handed_up")?,
            lost: count("lost")?,
            answered: count("answered")?,
            unsent: count("unsent")?,
            dropped,
            left,
        })
    }
}

/// The cells of the table for a storm.
pub(super) fn cells(report: &StormReport, counts: &Counts) -> Vec<String> {
    let summary = report.summary(None);
    let numbers = [
        report.asked,
        summary.first_try,
        summary.retried,
        summary.never + summary.wrong,
    ];
    let numbers = numbers.map(|count| count.to_string());
    let datapath = counts.datapath.clone();
    let ours = [counts.lost, counts.dropped].map(|count| count.to_string());
    [datapath].into_iter().chain(numbers).chain(ours).collect()
}

impl Way {
    /// Checks that each request has its reply, or is counted as lost, or as dropped if replies may be
    /// dropped. The duration does not matter: if the machine is slow, clients ask again, and are
    /// answered again.
    ///
    /// # Errors
    /// If something is wrong; the error says what.
    pub(super) fn judge(&self, report: &StormReport, counts: &Counts) -> Result<()> {
        if let Some(fault) = report.faults().next() {
            bail!("a wrong answer: {fault}");
        }
        let asked = report.asked as u64;
        let Counts {
            received,
            lost,
            answered,
            unsent,
            dropped,
            left,
            ..
        } = *counts;
        let all = format!(
            "{asked} requests, {received} received, {lost} lost, {answered} answered, {unsent} unsent, \
             {dropped} dropped, {left} replies left the card"
        );
        ensure!(asked == received + lost, "not all came in: {all}");
        ensure!(received == answered + unsent, "some are not counted: {all}");
        // Linux 5.10 does not count what its network core drops of generic XDP.
        let is_lost = match self.drops {
            Drops::Silent => left + dropped > received,
            Drops::None | Drops::Told => left + dropped != received,
        };
        ensure!(!is_lost, "some are lost: {all}");
        match self.drops {
            Drops::None => ensure!(dropped == 0, "some are dropped: {all}"),
            Drops::Told => ensure!(unsent == dropped, "some losses are not reported: {all}"),
            Drops::Silent => {}
        }
        Ok(())
    }
}

/// The number of our frames that were dropped below the daemon, from the output of `ethtool -S`
/// and, in the last line, the interface's `tx_dropped`. Drivers drop replies of native XDP and
/// count them by queue; the network core drops those of generic XDP.
pub(super) fn dropped(statistics: &str) -> Option<u64> {
    let (by_driver, by_core) = statistics.trim_end().rsplit_once('\n')?;
    let by_driver = by_driver.lines().filter_map(|line| {
        let (name, count) = line.split_once(':')?;
        // Newer kernels also have a total, whose name contains no number.
        let is_it = name.ends_with("xdp_tx_drops") && name.contains(|c: char| c.is_ascii_digit());
        is_it.then(|| count.trim().parse::<u64>().ok()).flatten()
    });
    Some(by_driver.sum::<u64>() + by_core.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_once_whatever_the_kernel_calls_them() {
        let new = "NIC statistics:\n     rx0_xdp_drops: 3\n     tx_xdp_tx_drops: 12\n     \
            tx0_xdp_tx: 99\n     tx0_xdp_tx_drops: 5\n     tx1_xdp_tx_drops: 7\n100\n";
        assert_eq!(dropped(new), Some(112));
        let old = "NIC statistics:\n     tx_queue_0_packets: 4\n     \
            tx_queue_0_xdp_tx_drops: 5\n     tx_queue_1_xdp_tx_drops: 7\n0\n";
        assert_eq!(dropped(old), Some(12));
        assert_eq!(dropped("no stats available\n"), None);
    }
}
