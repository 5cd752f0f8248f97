//! A storm from outside of a guest, through the driver of a real network card.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_bench::{Client, Firmware, StormReport, storm};
use proxydhcp_lab::config::{cfg_bytes, hosts_text};
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::{
    CLIENT_INTERFACE, NETWORK_PREFIX, Namespace, SERVER_ADDRESS, SERVER_MAC, link,
};
use serde_json::Value;
use tempfile::TempDir;

use super::guest::Guest;

const NODES: u16 = 10_000;
const WINPE: &str = "winboot/new/";
/// The card's name in a guest: there is no udev that would give it another.
const CARD: &str = "eth0";
const CONTROL: &str = "/run/nic.sock";
/// What an administrator's command may take, emulated on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// The wire holds a whole storm: what the guest does not take at once is not lost.
const WIRE: u32 = 40_000;

/// How the daemon serves the card.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    serve: &'static str,
    /// Whether replies for which the card has no room are dropped, instead of sent again.
    may_lose: bool,
}

/// Each way that a request can go, and what the daemon chooses itself.
pub(crate) const WAYS: [Way; 5] = [
    Way {
        name: "native",
        serve: "--path kernel --xdp-mode native",
        may_lose: true,
    },
    Way {
        name: "generic",
        serve: "--path kernel --xdp-mode generic",
        may_lose: true,
    },
    Way {
        name: "af-xdp",
        serve: "--path af-xdp",
        may_lose: false,
    },
    Way {
        name: "raw",
        serve: "--path raw",
        may_lose: false,
    },
    Way {
        name: "auto",
        serve: "",
        may_lose: false,
    },
];

/// What became of a storm.
pub(crate) struct Figures {
    report: StormReport,
    /// How the daemon says that it serves the card.
    datapath: String,
    /// Requests that came in.
    received: u64,
    /// Replies that it has sent.
    answered: u64,
    /// Replies that the driver or the network core has dropped, by their statistics.
    dropped: u64,
}

impl Figures {
    /// What stands in the table.
    pub(crate) fn cells(&self, kernel: &str, way: &str) -> Vec<String> {
        let summary = self.report.summary(None);
        let text = [kernel, way, &self.datapath].map(str::to_owned);
        let counts = [
            self.report.asked,
            summary.first_try,
            summary.retried,
            summary.never + summary.wrong,
        ];
        let counts = counts.map(|count| count.to_string());
        let dropped = self.dropped.to_string();
        text.into_iter().chain(counts).chain([dropped]).collect()
    }

    /// Replies that came to the clients.
    fn replies(&self) -> u64 {
        let clients = self.report.outcomes.iter();
        let answered = clients.filter(|outcome| outcome.latency.is_some()).count();
        (answered + self.report.duplicates) as u64
    }
}

/// The arguments that give a guest a card of virtio_net. Its other end is [`CLIENT_INTERFACE`] in
/// the namespace that the guest is booted in.
///
/// The card has twice as many pairs of queues as the guest has processors: XDP takes one more each.
/// Without `ctrl_vlan=off`, QEMU keeps tagged frames to itself.
pub(crate) fn device() -> Vec<String> {
    let wire = format!("tap,id=card,ifname={CLIENT_INTERFACE},script=no,downscript=no,queues=4");
    let [a, b, c, d, e, f] = SERVER_MAC;
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let card =
        format!("virtio-net-pci,netdev=card,mac={mac},mq=on,vectors=10,ctrl_vlan=off,romfile=");
    ["-netdev", &wire, "-device", &card]
        .map(str::to_owned)
        .to_vec()
}

/// A cluster on the wire of a guest's card.
pub(crate) struct Outside<'a> {
    namespace: &'a Namespace,
    files: TempDir,
    clients: Vec<Client>,
}

impl<'a> Outside<'a> {
    /// Brings up both ends of the wire, and sets up the card as an administrator does.
    ///
    /// # Errors
    /// When an end does not come up.
    pub(crate) fn new(namespace: &'a Namespace, guest: &mut Guest, files: TempDir) -> Result<Self> {
        let first = u32::from(Ipv4Addr::new(10, 77, 4, 0));
        let addresses = (0..NODES).map(|n| Ipv4Addr::from(first + u32::from(n)));
        let addresses: Vec<Ipv4Addr> = addresses.collect();
        let name = |n: usize| format!("n{n}");
        let records = (0..addresses.len()).map(|n| (name(n), WINPE));
        fs::write(files.path().join("proxydhcp.cfg"), cfg_bytes(records)?)?;
        let hosts = addresses.iter().enumerate().map(|(n, ip)| (*ip, name(n)));
        fs::write(files.path().join("hosts"), hosts_text(hosts))?;
        fs::write(files.path().join("proxydhcp.toml"), "")?;

        link::set_queue_length(namespace, CLIENT_INTERFACE, WIRE)?;
        link::set_up(namespace, CLIENT_INTERFACE)?;
        guest.must(
            &format!(
                "set -e\n\
                 modprobe virtio_net\n\
                 ethtool -L {CARD} combined 2\n\
                 ip address add {SERVER_ADDRESS}/{NETWORK_PREFIX} dev {CARD}\n\
                 ip link set {CARD} up"
            ),
            PATIENCE,
        )?;
        // Only these do not ask again for a whole second.
        let clients = addresses
            .into_iter()
            .map(|address| Client::new(Firmware::Uefi, address, WINPE));
        Ok(Self {
            namespace,
            clients: clients.collect(),
            files,
        })
    }

    /// Serves the card in one way, and lets the whole cluster boot.
    ///
    /// # Errors
    /// When the daemon does not start, or the storm's own socket fails.
    pub(crate) fn storm(&self, guest: &mut Guest, daemon: &Path, way: Way) -> Result<Figures> {
        let (daemon, files) = (daemon.display(), self.files.path().display());
        let how = way.serve;
        let log = "/tmp/nic.log";
        let start = format!(
            "'{daemon}' serve -i {CARD} {how} --config {files}/proxydhcp.cfg --hosts {files}/hosts \
             --settings {files}/proxydhcp.toml --control {CONTROL} >{log} 2>&1 &\n\
             echo $! >/run/nic.pid\n\
             until grep ready: {log}; do kill -0 $! || {{ cat {log}; exit 1; }}; sleep 0.1; done"
        );
        ensure_installed("ethtool", "ethtool")?;
        guest.must(&start, PATIENCE)?;
        let before = drops(guest)?;
        let report = storm(self.namespace, CLIENT_INTERFACE, &self.clients, &mut |_| {
            ControlFlow::Continue(())
        })
        .with_context(|| guest.console())?;
        let status = format!("'{daemon}' status --json --control {CONTROL}");
        let status: Value = serde_json::from_str(&guest.must(&status, PATIENCE)?)?;
        let dropped = drops(guest)? - before;
        guest.must(
            "kill $(cat /run/nic.pid)\nwhile kill -0 $(cat /run/nic.pid); do sleep 0.1; done 2>&-",
            PATIENCE,
        )?;
        let interface = status.pointer("/interfaces/0").context("no interface")?;
        let count = |name: &str| {
            let count = interface.pointer(&format!("/counters/{name}"));
            count.and_then(Value::as_u64).context("no such counter")
        };
        let text = |name: &str| interface.get(name).and_then(Value::as_str).unwrap_or("-");
        Ok(Figures {
            report,
            datapath: format!("{} ({})", text("datapath"), text("mode")),
            // What the program leaves to the daemon is received twice.
            received: count("received")? - count("handed_up")?,
            answered: count("answered")?,
            dropped,
        })
    }
}

impl Way {
    /// Whether a storm went as it must: each request has its reply, or the driver counts it among
    /// those that it dropped, if it may drop any at all.
    ///
    /// # Errors
    /// Says what is amiss.
    pub(crate) fn judge(&self, figures: &Figures) -> Result<()> {
        let report = &figures.report;
        if let Some(fault) = report.faults().next() {
            ensure!(false, "a wrong answer: {fault}");
        }
        let asked = report.asked as u64;
        let Figures {
            received,
            answered,
            dropped,
            ..
        } = figures;
        ensure!(
            asked == *received && received == answered,
            "of {asked} requests {received} came in, and {answered} were answered"
        );
        let replies = figures.replies();
        ensure!(
            replies + dropped == *answered,
            "{answered} were answered, {replies} replies came, and the driver dropped {dropped}"
        );
        ensure!(
            self.may_lose || *dropped == 0,
            "{dropped} replies were lost"
        );
        Ok(())
    }
}

/// How many frames of ours have been dropped below the daemon: those of native XDP by the driver,
/// which counts them by queue; those of generic XDP by the network core.
fn drops(guest: &mut Guest) -> Result<u64> {
    let script = format!("ethtool -S {CARD}\ncat /sys/class/net/{CARD}/statistics/tx_dropped");
    let statistics = guest.must(&script, PATIENCE)?;
    dropped(&statistics).with_context(|| format!("no statistics:\n{statistics}"))
}

fn dropped(statistics: &str) -> Option<u64> {
    let (by_driver, by_core) = statistics.trim_end().rsplit_once('\n')?;
    let by_driver = by_driver.lines().filter_map(|line| {
        let (name, count) = line.split_once(':')?;
        // Newer kernels have a total, too, which has no number.
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
