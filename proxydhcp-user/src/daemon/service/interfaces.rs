//! The interfaces in service, with the datapaths that answer there. They come and go.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use tracing::{error, info, warn};

use super::failure::Failure;
use crate::api::status::{InterfaceStatus, Unserved};
use crate::daemon::Settings;
use crate::datapath::Shared;
use crate::datapath::served_interface::{self, DatapathPlan, Served, Xdp};
use crate::datapath::xdp::KernelTables;
use crate::datapath::xdp::pins::{Leftover, Pins};
use crate::sys::interface::{self, Interface};

/// The interfaces that are served, and those that should be.
pub(super) struct Interfaces {
    /// The names of the interfaces to serve. If empty, all that are up and have an IPv4 address.
    names: Vec<String>,
    plan: DatapathPlan,
    /// Whether programs are pinned.
    pub(super) is_to_pin: bool,
    shared: Arc<Shared>,
    pub(super) served: Vec<Served>,
    /// The interfaces to serve that do not exist.
    missing: Vec<Unserved>,
    /// The interfaces that exist and could not be served.
    pub(super) failures: Vec<Failure>,
    /// The folder of pins, if it can be used and is wanted, or something is left there.
    pub(super) pins: Option<Pins>,
    /// The tables in the kernel, to fall back on.
    kernel_tables: Option<KernelTables>,
}

impl Interfaces {
    pub(super) fn new(settings: &Settings, shared: Arc<Shared>, pins: Option<Pins>) -> Self {
        Self {
            names: settings.interfaces.clone(),
            plan: settings.plan,
            is_to_pin: settings.pins,
            shared,
            served: Vec::new(),
            missing: Vec::new(),
            failures: Vec::new(),
            pins,
            kernel_tables: None,
        }
    }

    /// Serves those of `all` interfaces that should be served, in place of a killed daemon if there
    /// was one. While the first tables are awaited, that daemon's tables go on answering.
    ///
    /// # Errors
    ///
    /// If one of them cannot be served.
    pub(super) fn start(&mut self, all: &[Interface], awaits_tables: bool) -> Result<()> {
        self.serve(all, &[], awaits_tables);
        if let Some(failed) = self.failures.first() {
            return Err(anyhow!(failed.unserved.why.clone()));
        }
        self.served.iter_mut().for_each(Served::stays);
        self.remove_leftovers(all, awaits_tables);
        Ok(())
    }

    /// Serves interfaces that have come, and lets go of those that have gone. Interfaces that were
    /// `deleted` are new ones now, even if they look alike.
    pub(super) fn follow(&mut self, all: &[Interface], deleted: &[u32], awaits_tables: bool) {
        let before = self.unserved();
        self.serve(all, deleted, awaits_tables);
        self.served.iter_mut().for_each(Served::stays);
        for unserved in self.unserved() {
            if !before.contains(&unserved) {
                error!("{unserved}");
            }
        }
    }

    /// Installs the tables on all interfaces, if any has a program.
    ///
    /// # Errors
    ///
    /// If the kernel does not accept them. What was in service stays.
    pub(super) fn install(&mut self, tables: Option<KernelTables>) -> Result<()> {
        if let Some(tables) = &tables {
            served_interface::install(&mut self.served, tables, self.kernel_tables.as_ref())?;
        }
        self.kernel_tables = tables;
        Ok(())
    }

    /// Stops all datapaths, in the kernel too.
    pub(super) fn stop(&mut self) {
        let served = mem::take(&mut self.served);
        let all: Vec<_> = served.iter().map(|it| it.interface().clone()).collect();
        served_interface::stop(served);
        self.remove_leftovers(&all, false);
        self.pins = None;
    }

    /// When an interface that could not be served is tried again.
    pub(super) fn retry_due(&self) -> Option<Instant> {
        self.failures.iter().map(|failure| failure.due).min()
    }

    /// Makes those that could not be served be tried again as soon as possible.
    pub(super) fn retry_now(&mut self) {
        let now = Instant::now();
        for failure in &mut self.failures {
            failure.due = now;
        }
    }

    pub(super) fn have_programs(&self) -> bool {
        self.served.iter().any(Served::has_program)
    }

    pub(super) fn status(&self) -> Vec<InterfaceStatus> {
        self.served.iter().map(Served::status).collect()
    }

    pub(super) fn unserved(&self) -> Vec<Unserved> {
        let failed = self.failures.iter().map(|failure| &failure.unserved);
        self.missing.iter().chain(failed).cloned().collect()
    }

    /// A description of what serves each interface.
    pub(super) fn describe(&self) -> Vec<String> {
        self.served.iter().map(Served::describe).collect()
    }

    /// Passes what the XDP programs have logged on to the daemon's log.
    pub(super) fn forward_logs(&mut self) {
        self.served.iter_mut().for_each(Served::forward_log);
    }

    /// The packet threads that have shown no sign of life since the last call.
    pub(super) fn silent_threads(&self) -> Vec<String> {
        let threads = self.served.iter().flat_map(Served::threads);
        threads
            .filter(|thread| !thread.is_alive())
            .map(|thread| thread.name().to_owned())
            .collect()
    }

    /// Starts and stops datapaths, so that exactly the interfaces that should be are served.
    fn serve(&mut self, all: &[Interface], deleted: &[u32], awaits_tables: bool) {
        let wanted = self.wanted(all);
        self.let_go(&wanted, deleted);
        self.missing = self
            .names
            .iter()
            .filter(|name| !all.iter().any(|interface| interface.is_named(name)))
            .map(|name| Unserved::missing(name))
            .collect();
        let mut failures = mem::take(&mut self.failures);
        for interface in &wanted {
            let mut kept = self.served.iter_mut();
            if let Some(kept) = kept.find(|kept| kept.interface().index == interface.index) {
                kept.follow(&interface.name, interface.carriers(all));
                continue;
            }
            let before = failures.iter().position(|failed| failed.is_of(interface));
            let mut before = before.map(|at| failures.swap_remove(at));
            if let Some(stands) = before.take_if(|it| it.stands(interface, Instant::now())) {
                self.failures.push(stands);
                continue;
            }
            match self.start_one(interface, all, awaits_tables) {
                Ok(started) => {
                    info!("serving {}", started.describe());
                    self.served.push(started);
                }
                Err(error) if interface.is_there() => {
                    let now = Instant::now();
                    let failure = Failure::new(interface, &error, before.as_ref(), now);
                    self.failures.push(failure);
                }
                Err(_) => self.missing.push(Unserved::missing(&interface.name)),
            }
        }
    }

    /// Stops the datapaths of interfaces that are no longer `wanted`, or that have been replaced.
    fn let_go(&mut self, wanted: &[Interface], deleted: &[u32]) {
        let is_wanted = |served: &Served| {
            // Threads know the hardware address that they were started with. An interface without
            // its program is a new one with the same number, or its program was removed.
            let is_same = |it: &Interface| {
                let served_as = served.interface();
                let program = served.program();
                (it.index, it.mac) == (served_as.index, served_as.mac)
                    && !deleted.contains(&it.index)
                    && (program.is_none() || program == it.xdp.map(|xdp| xdp.program))
            };
            wanted.iter().any(is_same)
        };
        let (kept, gone): (Vec<_>, Vec<_>) =
            mem::take(&mut self.served).into_iter().partition(is_wanted);
        for gone in &gone {
            info!("{} is no longer served", gone.interface().name);
        }
        served_interface::stop(gone);
        self.served = kept;
    }

    /// The interfaces to serve. One that goes down, or loses its address, is still served, because
    /// it may come back.
    fn wanted(&self, all: &[Interface]) -> Vec<Interface> {
        let mut wanted = interface::choose(all, &self.names);
        if self.names.is_empty() {
            let indexes: Vec<_> = wanted.iter().map(|wanted| wanted.index).collect();
            let is_served = |index| {
                self.served
                    .iter()
                    .any(|served| served.interface().index == index)
            };
            let more = all.iter().filter(|one| {
                is_served(one.index)
                    && !indexes.contains(&one.index)
                    && !one.is_covered(&indexes, all)
            });
            wanted.extend(more.cloned());
        }
        wanted
    }

    fn start_one(
        &mut self,
        interface: &Interface,
        all: &[Interface],
        awaits_tables: bool,
    ) -> Result<Served> {
        ensure!(
            interface.is_ethernet,
            "{} is not Ethernet, and nothing else can be served; leave it out",
            interface.name
        );
        let before = self.left_on(interface)?;
        // The raw datapath starts first, so that from the first frame on it takes what the program
        // lets pass.
        let mut served = Served::start(interface, interface.carriers(all), &self.shared)?;
        if before.is_some() && awaits_tables {
            warn!(
                "{}: the kernel goes on answering from the tables of a daemon that was killed, until \
                 the files are corrected and reloaded",
                interface.name
            );
        } else {
            self.attach(&mut served, before)?;
        }
        Ok(served)
    }

    /// Serves by XDP from now on, if that is asked for and possible, in place of what a killed
    /// daemon has left there.
    ///
    /// # Errors
    ///
    /// If XDP is required and does not attach.
    pub(super) fn attach(&mut self, served: &mut Served, before: Option<Leftover>) -> Result<()> {
        let DatapathPlan::Xdp(options) = self.plan else {
            return Ok(());
        };
        let attach = || {
            let tables = match self.kernel_tables.take() {
                Some(tables) => tables,
                None => KernelTables::new(&self.shared.tables.load())?,
            };
            let xdp = Xdp {
                options,
                tables: self.kernel_tables.insert(tables),
                pins: self.pins.as_ref().filter(|_| self.is_to_pin),
                before,
            };
            served.attach(xdp, &self.shared)
        };
        match attach() {
            Err(error) if options.or_raw => {
                served.stays_raw(&error);
                Ok(())
            }
            attached => attached,
        }
    }
}
