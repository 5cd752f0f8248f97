//! The interfaces in service, with the datapaths that answer there. They come and go.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use super::failure::{Failure, Retry};
use crate::api::status::{InterfaceStatus, Unserved};
use crate::daemon::Settings;
use crate::datapath::Shared;
use crate::datapath::modes::AttachOptions;
use crate::datapath::raw::Room;
use crate::datapath::served_interface::{self, DatapathPlan, Served, Xdp};
use crate::datapath::xdp::pins::{Leftover, Pins};
use crate::datapath::xdp::{Duty, KernelTables, Left, Program, Renewal};
use crate::sys::interface::{self, Interface};
use crate::text::with_causes;

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
    /// Keeps the XDP program answering.
    renewal: Renewal,
    /// Whether it does so with the one of this daemon.
    is_renewed: bool,
    /// The XDP program of all interfaces, once there is one to put it on. Behind `served`, so that those
    /// are detached first.
    program: Option<Program>,
    /// The MTU of each interface that packets arrive at by those in service, by its number.
    pub(super) reached: Arc<ArcSwap<HashMap<u32, u32>>>,
}

impl Interfaces {
    pub(super) fn new(
        settings: &Settings,
        shared: Arc<Shared>,
        pins: Option<Pins>,
        renewal: Renewal,
    ) -> Self {
        Self {
            names: settings.interfaces.clone(),
            plan: settings.plan,
            is_to_pin: settings.pins,
            shared,
            served: Vec::new(),
            missing: Vec::new(),
            failures: Vec::new(),
            pins,
            renewal,
            is_renewed: false,
            program: None,
            reached: Arc::default(),
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
        if !awaits_tables {
            self.answer_from_now_on();
        }
        Ok(())
    }

    /// Serves interfaces that have come, and lets go of those that have gone. Interfaces that were
    /// `deleted` are new ones now, even if they look alike.
    pub(super) fn follow(&mut self, all: &[Interface], deleted: &[u32], awaits_tables: bool) {
        let before = self.unserved();
        self.serve(all, deleted, awaits_tables);
        self.served.iter_mut().for_each(Served::stays);
        if !awaits_tables {
            self.answer_from_now_on();
        }
        for unserved in self.unserved() {
            // One that has gone is named already.
            if unserved.is_there && !before.contains(&unserved) {
                error!("{unserved}");
            }
        }
    }

    /// Installs the tables for all interfaces, if there is a program.
    ///
    /// # Errors
    ///
    /// If the kernel does not accept them. What was in service stays.
    pub(super) fn install(&mut self, tables: Option<&KernelTables>) -> Result<()> {
        let (Some(tables), Some(program)) = (tables, &mut self.program) else {
            return Ok(());
        };
        served_interface::install(&self.served, program, tables)
    }

    /// Stops all datapaths, in the kernel too.
    pub(super) fn stop(&mut self) {
        let served = mem::take(&mut self.served);
        let all: Vec<_> = served.iter().map(|it| it.interface().clone()).collect();
        served_interface::stop(served);
        self.remove_leftovers(&all, false);
        self.program = None;
        self.pins = None;
    }

    /// When an interface that could not be served is tried again.
    pub(super) fn retry_due(&self) -> Option<Instant> {
        let retries = self.failures.iter().map(|failure| &failure.retry);
        retries.map(Retry::due).min()
    }

    /// Makes those that could not be served be tried again as soon as possible.
    pub(super) fn retry_now(&mut self) {
        for failure in &mut self.failures {
            failure.retry.hurry();
        }
    }

    pub(super) fn have_program(&self) -> bool {
        self.program.is_some()
    }

    pub(super) fn status(&self) -> Vec<InterfaceStatus> {
        let program = self.program.as_ref();
        self.served.iter().map(|it| it.status(program)).collect()
    }

    pub(super) fn unserved(&self) -> Vec<Unserved> {
        let failed = self.failures.iter().map(|failure| &failure.unserved);
        self.missing.iter().chain(failed).cloned().collect()
    }

    /// The names of the interfaces that are waited for.
    pub(super) fn missing(&self) -> impl Iterator<Item = &str> {
        self.missing.iter().map(|missing| missing.name.as_str())
    }

    /// A description of what serves each interface.
    pub(super) fn describe(&self) -> Vec<String> {
        self.served.iter().map(Served::describe).collect()
    }

    /// The requests of clients that are no node that the program has not noted.
    pub(super) fn unnoted(&self) -> u64 {
        let Some(program) = &self.program else {
            return 0;
        };
        let served = self.served.iter().filter(|it| it.is_attached());
        let of = |it: &Served| program.unnoted(it.interface().index).unwrap_or_default();
        served.map(of).sum()
    }

    /// Passes what the XDP program has logged on to the daemon's log.
    pub(super) fn forward_logs(&mut self) {
        if let Some(program) = &mut self.program {
            program.forward_log();
        }
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
        let is_there = |name: &str| all.iter().any(|interface| interface.is_named(name));
        let missing = self.names.iter().filter(|name| !is_there(name));
        let missing: Vec<_> = missing.map(|name| Unserved::missing(name)).collect();
        for gone in missing.iter().filter(|it| !self.missing.contains(it)) {
            warn!("{}: {}", gone.name, gone.why);
        }
        self.missing = missing;
        let mut failures = mem::take(&mut self.failures);
        let mut fresh = Vec::new();
        for interface in wanted {
            let mut kept = self.served.iter_mut();
            if let Some(kept) = kept.find(|kept| kept.interface().index == interface.index) {
                kept.follow(&interface, interface.carriers(all));
                continue;
            }
            let before = failures.iter().position(|failed| failed.is_of(&interface));
            let mut before = before.map(|at| failures.swap_remove(at));
            match before.take_if(|it| it.stands(&interface, Instant::now())) {
                Some(stands) => self.failures.push(stands),
                None => fresh.push((interface, before)),
            }
        }
        let opened = self.open(fresh.iter().map(|(interface, _)| interface), all);
        for ((interface, before), opened) in fresh.iter().zip(opened) {
            match opened.and_then(|served| self.start_one(served, awaits_tables)) {
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
        let served: Vec<u32> = self.served.iter().map(|it| it.interface().index).collect();
        let reached = all.iter().filter(|it| it.is_reached_by(&served, all));
        let reached = reached.map(|it| (it.index, it.mtu)).collect();
        self.reached.store(Arc::new(reached));
    }

    /// Serves these interfaces by the raw datapath, all at once: the kernel takes its time over each
    /// ring.
    fn open<'i>(
        &self,
        fresh: impl Iterator<Item = &'i Interface>,
        all: &[Interface],
    ) -> Vec<Result<Served>> {
        thread::scope(|scope| {
            let open = |interface| scope.spawn(move || self.open_one(interface, all));
            let opening: Vec<_> = fresh.map(open).collect();
            let opened = opening.into_iter().map(|one| {
                let panicked = |_| Err(anyhow!("the thread that opens it has panicked"));
                one.join().unwrap_or_else(panicked)
            });
            opened.collect()
        })
    }

    /// Has the program answer even if the deadline that it has adopted is over. Until all interfaces
    /// have it, that would revive the old one on the others.
    pub(super) fn answer_from_now_on(&mut self) {
        let program = self.program.as_mut().filter(|_| !self.is_renewed);
        match program.map(Program::deadline).transpose() {
            Ok(Some(deadline)) => {
                self.renewal.renew(deadline);
                self.is_renewed = true;
            }
            Ok(None) => {}
            Err(error) => error!("{error:#}"),
        }
    }

    fn open_one(&self, interface: &Interface, all: &[Interface]) -> Result<Served> {
        interface.check()?;
        let room = match self.plan {
            DatapathPlan::Xdp(_) => Room::Rest,
            DatapathPlan::Raw => Room::All,
        };
        Served::start(interface, room, interface.carriers(all), &self.shared)
    }

    /// Stops the datapaths of interfaces that are no longer `wanted`, or that have been replaced.
    fn let_go(&mut self, wanted: &[Interface], deleted: &[u32]) {
        let is_wanted = |served: &Served| {
            // Threads know the hardware address that they were started with. An interface without
            // its program is a new one with the same number, or its program was removed.
            let is_same = |it: &Interface| {
                let served_as = served.interface();
                let program = served.program(self.program.as_ref());
                (it.index, it.mac) == (served_as.index, served_as.mac)
                    && !deleted.contains(&it.index)
                    && (program.is_none() || program == it.xdp.map(|xdp| xdp.program))
                    && served.is_pinned_as_meant()
            };
            wanted.iter().any(is_same)
        };
        let served = mem::take(&mut self.served);
        let (kept, gone): (Vec<_>, Vec<_>) = served.into_iter().partition(is_wanted);
        for gone in &gone {
            info!("{} is no longer served", gone.interface().name);
        }
        let are_some_gone = !gone.is_empty();
        served_interface::stop(gone);
        self.served = kept;
        if let Some(program) = self.program.as_mut().filter(|_| are_some_gone) {
            let kept = self.served.iter().map(|kept| kept.interface().index);
            if let Err(error) = program.count_for_only(&kept.collect::<Vec<_>>()) {
                warn!(
                    "the counts of interfaces that have gone are kept: {}",
                    with_causes(&error)
                );
            }
        }
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

    /// Serves an interface as it is to be served. It was opened first: from the first frame on,
    /// somebody takes what the program lets pass.
    fn start_one(&mut self, mut served: Served, awaits_tables: bool) -> Result<Served> {
        let interface = served.interface().clone();
        let before = self.left_on(&interface)?;
        if !awaits_tables || before.is_none() {
            self.attach(&mut served, before)?;
            return Ok(served);
        }
        warn!(
            "{}: the kernel goes on answering from the tables of a daemon that was killed, until the \
             files are corrected and reloaded",
            interface.name
        );
        let left = before.zip(self.pins.as_ref());
        let left = left.and_then(|(before, pins)| Left::new(before, &interface, pins));
        if let Some(left) = left {
            served.await_program(left);
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
            return served.goes_on_raw(&self.shared);
        };
        if served.prefers_raw(options) {
            return served.goes_on_raw(&self.shared);
        }
        let pins = self.pins.as_ref().filter(|_| self.is_to_pin);
        let attach = || {
            let program = if let Some(program) = self.program.take() {
                program
            } else {
                let tables = KernelTables::new(&self.shared.tables.load())?;
                let capacity = self.shared.activity.memory().capacity();
                let mut program = load(options, &tables, capacity, pins)?;
                self.shared.activity.moves_to(program.activity()?);
                let deadline = program.deadline()?;
                if !deadline.is_over() {
                    self.renewal.renew(deadline);
                    self.is_renewed = true;
                }
                program
            };
            let xdp = Xdp {
                options,
                program: self.program.insert(program),
                pins,
                before,
            };
            served.attach(xdp, &self.shared)
        };
        match attach() {
            Err(error) if options.or_raw => {
                served.stays_raw(&error);
                served.goes_on_raw(&self.shared)
            }
            attached => attached,
        }
    }
}

/// Loads the program, and has it go on with the counts of what is to be taken over alone.
fn load(
    options: AttachOptions,
    tables: &KernelTables,
    capacity: u32,
    pins: Option<&Pins>,
) -> Result<Program> {
    let mut program = Program::load(options.duty, tables, capacity, pins)?;
    if let Some(pins) = pins.filter(|_| options.duty == Duty::Answer) {
        let left = pins.leftovers(&[])?;
        let taken_over = left.iter().filter(|it| it.shares_counters());
        let indexes: Vec<_> = taken_over.filter_map(Leftover::interface).collect();
        program.count_for_only(&indexes)?;
    }
    Ok(program)
}
