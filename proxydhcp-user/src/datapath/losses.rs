//! Replies of the XDP program that the driver dropped, mostly because its transmit ring was full.
//!
//! The program counts a reply as sent when it returns `XDP_TX`, and never learns what becomes of
//! it. Drivers count what they drop, each under its own names. The counters are read only on
//! request.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::debug;

use crate::api::status::Lost;
use crate::datapath::xdp::pins;
use crate::sys::ethtool::Driver;
use crate::sys::interface::{Interface, Kind};

/// Drivers whose transmit ring is emptied by the host of a virtual machine, at its own pace. Those
/// of physical cards send as fast as they receive.
const EMPTIED_BY_A_HOST: [&str; 2] = ["virtio_net", "vmxnet3"];

/// A ring of this many frames was never seen to overflow in a storm of 10,000 requests. Rings of
/// 256 (`virtio_net`), 512 and 1024 frames (vmxnet3) were.
const ROOMY: u32 = 4096;

/// Why an interface loses replies of native or generic XDP in a storm.
pub(crate) struct Prone {
    /// The reason.
    pub(crate) why: String,
    /// The command that prevents it, if there is one.
    pub(crate) remedy: Option<String>,
}

/// Whether one of these interfaces would lose replies of an XDP program in a storm.
pub(crate) fn expected(carriers: &[Interface]) -> Option<Prone> {
    carriers.iter().find_map(|carrier| {
        let driver = Driver::of(carrier.index).ok()?;
        let name = driver.name().ok()?;
        let ring = driver.transmit_ring().ok()?;
        (EMPTIED_BY_A_HOST.contains(&name.as_str()) && ring.now < ROOMY).then(|| Prone {
            why: format!(
                "the transmit ring of {} holds {} frames, and {name} drops replies of an XDP program \
                 that find it full, in a storm of requests",
                carrier.name, ring.now
            ),
            remedy: (ring.most >= ROOMY).then(|| format!("ethtool -G {} tx {ROOMY}", carrier.name)),
        })
    })
}

/// What the drivers of an interface have dropped since its XDP program began to count, under this
/// daemon or a previous one.
pub(crate) struct Losses {
    /// Where the initial values are recorded for a successor, if anywhere.
    notes: Option<PathBuf>,
    carriers: Vec<Carrier>,
}

/// An interface whose driver runs the program, and the initial value of its counter.
struct Carrier {
    interface: Interface,
    before: u64,
}

impl Losses {
    /// Begins to count, or continues if the program is pinned in `folder` and a previous daemon had
    /// begun.
    pub(crate) fn new(carriers: &[Interface], folder: Option<&Path>) -> Self {
        let mut losses = Self {
            notes: folder.map(|folder| folder.join(pins::DROPPED_BEFORE)),
            carriers: Vec::new(),
        };
        losses.follow(carriers);
        losses
    }

    /// Records that the drivers of these interfaces run the program now.
    pub(crate) fn follow(&mut self, carriers: &[Interface]) {
        self.carriers
            .retain(|old| carriers.iter().any(|it| it.index == old.interface.index));
        for interface in carriers {
            let mut known = self.carriers.iter_mut();
            if let Some(known) = known.find(|it| it.interface.index == interface.index) {
                known.interface.clone_from(interface);
            } else if let Some(now) = dropped(interface.index) {
                let noted = noted(self.notes.as_deref(), interface.index);
                let before = noted.filter(|&before| before <= now).unwrap_or(now);
                if let Some(notes) = &self.notes
                    && noted != Some(before)
                    && let Err(error) = note(notes, interface.index, before)
                {
                    debug!("{}: {error}", notes.display());
                }
                self.carriers.push(Carrier {
                    interface: interface.clone(),
                    before,
                });
            }
        }
    }

    /// The replies lost; `None` if no driver counts them.
    pub(crate) fn count(&self) -> Option<Lost> {
        let mut lost = Lost::default();
        let mut counts = false;
        for Carrier { interface, before } in &self.carriers {
            let Some(now) = dropped(interface.index) else {
                continue;
            };
            counts = true;
            let replies = now.saturating_sub(*before);
            lost.replies += replies;
            if replies > 0 && lost.remedy.is_none() {
                lost.remedy = Some(remedy(interface));
            }
        }
        counts.then_some(lost)
    }
}

/// How to keep an interface from losing more.
fn remedy(interface: &Interface) -> String {
    if interface.kind == Kind::Veth {
        return "--xdp-mode generic, because the other end of this veth takes none without an XDP program \
                of its own"
            .to_owned();
    }
    let ring = Driver::of(interface.index).and_then(|driver| driver.transmit_ring());
    match ring {
        Ok(ring) if ring.now < ring.most => {
            format!("ethtool -G {} tx {}", interface.name, ring.most)
        }
        _ => "--path raw or --path af-xdp, which wait for room".to_owned(),
    }
}

/// What the driver has dropped since it was loaded; `None` if it does not count that.
fn dropped(interface: u32) -> Option<u64> {
    let statistics = Driver::of(interface).and_then(|driver| driver.statistics());
    sum(&statistics.ok()?)
}

/// The sum of the counters of dropped replies. If there are totals over all queues, the counters of
/// single queues are left out.
fn sum(statistics: &[(String, u64)]) -> Option<u64> {
    let counting = || {
        let counting = statistics.iter();
        counting.filter(|(name, _)| counts_dropped_replies(name))
    };
    let is_of_a_queue = |name: &str| name.contains(|c: char| c.is_ascii_digit());
    let has_sums = counting().any(|(name, _)| !is_of_a_queue(name));
    let counted = counting().filter(|(name, _)| !(has_sums && is_of_a_queue(name)));
    counted.map(|&(_, value)| value).reduce(u64::saturating_add)
}

/// Drivers name them `tx_queue_0_xdp_tx_drops` (`virtio_net`), `rx_queue_0_xdp_tx_errors` (veth),
/// `rx_xdp_tx_full` (mlx4, mlx5), `queue_4_xdp_tx_prepare_ctx_err` (ena), `rx_xdp_tx_errors[0]`
/// (gve), `[drv] xdp tx errors` (dpaa2) and the like. `xdp_xmit` counts frames redirected to the
/// interface, which are not ours.
fn counts_dropped_replies(name: &str) -> bool {
    let name = name.replace(' ', "_");
    let outcome = name.split_once("xdp_tx").map(|(_, outcome)| outcome);
    outcome.is_some_and(|outcome| {
        ["drop", "err", "full"]
            .iter()
            .any(|it| outcome.contains(it))
    })
}

/// Records an initial value in the name of a folder, because a BPF file system has no ordinary
/// files.
fn note(notes: &Path, interface: u32, before: u64) -> io::Result<()> {
    for old in named(notes, interface) {
        fs::remove_dir(notes.join(old.0))?;
    }
    pins::make_folder(&notes.join(format!("{interface}-{before}")))
}

fn noted(notes: Option<&Path>, interface: u32) -> Option<u64> {
    let (_, before) = named(notes?, interface).into_iter().next()?;
    Some(before)
}

/// The recorded values of an interface: the folders' names, and the numbers in them.
fn named(notes: &Path, interface: u32) -> Vec<(String, u64)> {
    let entries = fs::read_dir(notes).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| {
            let (index, before) = name.split_once('-')?;
            let is_of_it = index.parse() == Ok(interface);
            Some((name.clone(), before.parse().ok()?)).filter(|_| is_of_it)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(all: &[(&str, u64)]) -> Vec<(String, u64)> {
        let named = |&(name, value): &(&str, u64)| (name.to_owned(), value);
        all.iter().map(named).collect()
    }

    #[test]
    fn each_driver_names_what_it_drops_its_own_way() {
        let virtio = [
            ("rx_queue_0_xdp_drops", 1000),
            ("rx_queue_0_xdp_tx", 1000),
            ("tx_queue_0_xdp_tx", 1000),
            ("tx_queue_0_xdp_tx_drops", 64),
            ("tx_queue_1_xdp_tx_drops", 56),
        ];
        assert_eq!(sum(&statistics(&virtio)), Some(120));
        let newer_virtio = [
            ("rx_xdp_tx", 10120),
            ("tx_xdp_tx_drops", 120),
            ("tx0_xdp_tx_drops", 64),
            ("tx1_xdp_tx_drops", 56),
        ];
        assert_eq!(sum(&statistics(&newer_virtio)), Some(120));
        let veth = [
            ("rx_queue_0_drops", 1000),
            ("rx_queue_0_xdp_drops", 1000),
            ("rx_queue_0_xdp_tx_errors", 7),
            ("tx_queue_0_xdp_xmit_errors", 1000),
        ];
        assert_eq!(sum(&statistics(&veth)), Some(7));
        let mlx5 = [
            ("rx_xdp_tx_full", 3),
            ("rx_xdp_tx_err", 2),
            ("rx_xdp_tx_cqe", 1000),
            ("rx0_xdp_tx_full", 3),
            ("rx0_xdp_tx_err", 2),
            ("tx_xdp_full", 1000),
        ];
        assert_eq!(sum(&statistics(&mlx5)), Some(5));
        let ena = [
            ("queue_4_xdp_tx_cnt", 1000),
            ("queue_4_xdp_tx_prepare_ctx_err", 2),
            ("queue_5_xdp_tx_dma_mapping_err", 1),
            ("queue_0_tx_prepare_ctx_err", 1000),
        ];
        assert_eq!(sum(&statistics(&ena)), Some(3));
        let dpaa2 = [("[drv] xdp tx", 1000), ("[drv] xdp tx errors", 4)];
        assert_eq!(sum(&statistics(&dpaa2)), Some(4));
        let ixgbe = [("tx_packets", 1000), ("tx_dropped", 1000)];
        assert_eq!(sum(&statistics(&ixgbe)), None);
    }

    #[test]
    fn what_was_dropped_before_is_noted_for_a_successor() {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("notes");
        assert_eq!(noted(Some(&notes), 7), None);
        note(&notes, 7, 704).unwrap();
        note(&notes, 70, 1).unwrap();
        assert_eq!(noted(Some(&notes), 7), Some(704));
        note(&notes, 7, 705).unwrap();
        assert_eq!(named(&notes, 7), [("7-705".to_owned(), 705)]);
        assert_eq!(noted(Some(&notes), 70), Some(1));
        assert_eq!(noted(None, 7), None);
    }
}
