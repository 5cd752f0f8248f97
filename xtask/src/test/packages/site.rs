//! A machine with a cluster around it.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_clients::{Client, Firmware, Load, LoadReport, steady, storm};
use proxydhcp_lab::config::{cfg_bytes, hosts_text};
use proxydhcp_lab::{CLIENT_INTERFACE, Expected, Lab, RequestFrame, check_reply};
use tempfile::TempDir;

use super::Packages;
use super::machine::{Machine, SHARED};

/// The nodes of a storm.
const NODES: u16 = 1_000;
const WINPE: &str = "winboot/x/";
/// Requests a second, while something is done that may lose none.
const RATE: u32 = 20_000;
/// So many are answered before, and after.
const LEAST: u32 = 5_000;
const PATIENCE: Duration = Duration::from_mins(3);
/// UEFI x64.
const ARCHITECTURE: u16 = 7;

pub(super) struct Site {
    pub(super) machine: Machine,
    pub(super) lab: Lab,
    shared: TempDir,
}

impl Site {
    /// Boots a machine that has the packages, the files of the cluster and settings in its shared
    /// folder.
    pub(super) fn boot(release: &str, packages: &Packages) -> Result<Self> {
        let shared = TempDir::new()?;
        for name in ["proxydhcp", "proxydhcp-xcat"] {
            let to = |file: String| shared.path().join(file);
            fs::copy(packages.deb(name)?, to(format!("{name}.deb")))?;
            fs::copy(packages.next(name), to(format!("{name}.next.deb")))?;
        }
        let write = |name: &str, text: &[u8]| fs::write(shared.path().join(name), text);
        let name = |n: usize| format!("n{n}");
        let records = (0..nodes().count()).map(|n| (name(n), WINPE));
        write("proxydhcp.cfg", &cfg_bytes(records)?)?;
        let hosts = nodes().enumerate().map(|(n, address)| (address, name(n)));
        write("hosts", hosts_text(hosts).as_bytes())?;
        // The few clients of a test ask more often than real ones do.
        write("settings", b"interface = [\"px0\"]\nrate-limit = 0\n")?;
        let lab = Lab::new()?;
        let machine = Machine::boot(release, &lab.server, shared.path())?;
        Ok(Self {
            machine,
            lab,
            shared,
        })
    }

    /// The folder that the machine sees as [`SHARED`].
    pub(super) fn shared(&self) -> &Path {
        self.shared.path()
    }

    /// Gives the machine its nodes, as a site would.
    pub(super) fn set_up(&self) -> Result<()> {
        self.machine.sh(&format!(
            "mkdir -p /var/lib/xcat /tftpboot/winboot/x/Boot; cp {SHARED}/proxydhcp.cfg /var/lib/xcat/; \
             touch /tftpboot/winboot/x/Boot/BCD; cat {SHARED}/hosts >> /etc/hosts; \
             sed -i '/^#interface/r {SHARED}/settings' /etc/proxydhcp.toml"
        ))?;
        Ok(())
    }

    /// All nodes boot at once, and each gets its answer.
    pub(super) fn storm(&self) -> Result<()> {
        let clients: Vec<Client> = nodes()
            .map(|node| Client::new(Firmware::Uefi, node, WINPE))
            .collect();
        let go_on = &mut |_| ControlFlow::Continue(());
        let report = storm(&self.lab.client, CLIENT_INTERFACE, &clients, go_on)?;
        let summary = report.summary(None);
        ensure!(report.is_flawless(), "a storm went wrong: {summary:?}");
        ensure!(summary.never + summary.wrong == 0, "{summary:?}");
        Ok(())
    }

    /// Does `work` while all nodes ask, and none of their requests is lost.
    pub(super) fn loses_nothing<T>(
        &self,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, LoadReport)> {
        let requests: Vec<RequestFrame> = nodes()
            .map(|node| RequestFrame::edk2(node, ARCHITECTURE))
            .collect();
        let (answered, over) = (AtomicU32::new(0), AtomicBool::new(false));
        let (done, load) = thread::scope(|scope| {
            let load = scope.spawn(|| {
                let load = Load {
                    rate: RATE,
                    requests: &requests,
                };
                let go_on = |elapsed| !over.load(Relaxed) && elapsed < PATIENCE;
                let expected = Expected::new(WINPE, ARCHITECTURE);
                steady(
                    &self.lab.client,
                    CLIENT_INTERFACE,
                    &load,
                    &go_on,
                    &mut |reply| {
                        answered.fetch_add(1, Relaxed);
                        check_reply(reply.request, reply.frame, &expected)
                    },
                )
            });
            let await_more = || {
                let (started, before) = (Instant::now(), answered.load(Relaxed));
                while answered.load(Relaxed) - before < LEAST && !load.is_finished() {
                    ensure!(started.elapsed() < PATIENCE, "nothing is answered");
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            };
            let done = await_more().and_then(|()| {
                let done = work()?;
                await_more()?;
                Ok(done)
            });
            over.store(true, Relaxed);
            let load = load.join().ok().context("the load panicked")?;
            anyhow::Ok((done, load?))
        })?;
        let done = done?;
        ensure!(load.is_flawless(), "{} lost: {load:?}", load.missing());
        Ok((done, load))
    }

    /// Whether a node gets an answer.
    pub(super) fn is_answered(&self) -> Result<bool> {
        let mut tap = self.lab.tap()?;
        let node = nodes().next().context("no node")?;
        tap.send(&RequestFrame::edk2(node, ARCHITECTURE).bytes())?;
        Ok(tap.reply(Duration::from_secs(1))?.is_some())
    }
}

fn nodes() -> impl Iterator<Item = Ipv4Addr> {
    let first = u32::from(Ipv4Addr::new(10, 77, 4, 0));
    (0..u32::from(NODES)).map(move |n| (first + n).into())
}
