//! The interfaces that are served: at the start, and as they come and go.

use std::future;
use std::mem;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use tokio::task;
use tokio::time::sleep_until;
use tracing::{error, info, warn};

use super::failure::Failure;
use super::{Service, State};
use crate::api::status::Unserved;
use crate::datapath::served_interface::{self, DatapathPlan, Served, Xdp};
use crate::datapath::xdp::KernelTables;
use crate::datapath::xdp::pins::Leftover;
use crate::sys::interface::{self, Interface};

impl Service {
    /// Serves the interfaces out of `all` that are to be served, in the place of a daemon that was
    /// killed where there was one.
    pub(super) fn start_interfaces(&self, all: &[Interface]) -> Result<()> {
        let mut state = self.lock();
        self.serve(&mut state, all, &[]);
        if let Some(failed) = state.failures.first() {
            return Err(anyhow!(failed.unserved.why.clone()));
        }
        state.served.iter_mut().for_each(Served::stays);
        self.remove_leftovers(&mut state, all);
        Ok(())
    }

    /// Looks at the interfaces again: serves those that have come, lets go of those that have gone,
    /// and answers to the addresses that this host has now. Those that were `deleted` are others
    /// now, also where they look the same.
    ///
    /// # Errors
    ///
    /// Netlink's; the tables for the addresses cannot be installed, and those in service stay.
    pub(crate) async fn interfaces_changed(&self, deleted: &[u32]) -> Result<()> {
        let _one_at_a_time = self.installing.lock().await;
        let all = interface::list().await?;
        let changed = task::block_in_place(|| {
            let readdressed = self.readdress(interface::local_addresses(&all));
            let mut state = self.lock();
            let before = state.unserved();
            self.serve(&mut state, &all, deleted);
            state.served.iter_mut().for_each(Served::stays);
            for unserved in state.unserved() {
                if !before.contains(&unserved) {
                    error!("{unserved}");
                }
            }
            readdressed
        });
        self.reloading.send_replace(None);
        changed
    }

    /// Waits until an interface that could not be served is to be tried again.
    pub(crate) async fn retry_is_due(&self) {
        loop {
            let due = self.lock().failures.iter().map(|failure| failure.due).min();
            let retry = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                () = retry => return,
                () = self.failures_changed.notified() => {}
            }
        }
    }

    /// Those that could not be served are tried again as soon as can be.
    pub(super) fn retry_now(&self) {
        let now = Instant::now();
        for failure in &mut self.lock().failures {
            failure.due = now;
        }
        self.failures_changed.notify_one();
    }

    /// Starts and stops datapaths, so that those interfaces are served that are to be.
    fn serve(&self, state: &mut State, all: &[Interface], deleted: &[u32]) {
        let names = &self.settings.interfaces;
        let wanted = self.wanted(state, all);
        let is_wanted = |served: &Served| {
            // Threads know the hardware address that they were started with. Without its program,
            // it is another one by the same number, or the program was taken away.
            let is_same = |it: &&Interface| {
                let served_as = served.interface();
                let program = served.program();
                (it.index, it.mac) == (served_as.index, served_as.mac)
                    && !deleted.contains(&it.index)
                    && (program.is_none() || program == it.xdp.map(|xdp| xdp.program))
            };
            wanted.iter().any(|wanted| is_same(&wanted))
        };
        let (kept, gone): (Vec<_>, Vec<_>) = mem::take(&mut state.served)
            .into_iter()
            .partition(is_wanted);
        for gone in &gone {
            info!("{} is not served any more", gone.interface().name);
        }
        served_interface::stop(gone);
        state.served = kept;
        state.missing = names
            .iter()
            .filter(|name| !all.iter().any(|interface| interface.is_named(name)))
            .map(|name| Unserved::missing(name))
            .collect();
        let mut failures = mem::take(&mut state.failures);
        for interface in &wanted {
            let mut kept = state.served.iter_mut();
            if let Some(kept) = kept.find(|kept| kept.interface().index == interface.index) {
                kept.follow(&interface.name, interface.carriers(all));
                continue;
            }
            let before = failures.iter().position(|failed| failed.is_of(interface));
            let mut before = before.map(|at| failures.swap_remove(at));
            if let Some(stands) = before.take_if(|it| it.stands(interface, Instant::now())) {
                state.failures.push(stands);
                continue;
            }
            match self.start_one(state, interface, all) {
                Ok(started) => {
                    info!("serving {}", started.describe());
                    state.served.push(started);
                }
                Err(error) if interface.is_there() => {
                    let now = Instant::now();
                    let failure = Failure::new(interface, &error, before.as_ref(), now);
                    state.failures.push(failure);
                }
                Err(_) => state.missing.push(Unserved::missing(&interface.name)),
            }
        }
    }

    /// The interfaces to serve. One that goes down, or loses its address, is still served: it comes
    /// back.
    fn wanted(&self, state: &State, all: &[Interface]) -> Vec<Interface> {
        let names = &self.settings.interfaces;
        let mut wanted = interface::choose(all, names);
        if names.is_empty() {
            let indexes: Vec<_> = wanted.iter().map(|wanted| wanted.index).collect();
            let is_served = |index| {
                state
                    .served
                    .iter()
                    .any(|served| served.interface().index == index)
            };
            let more = all.iter().filter(|one| {
                is_served(one.index) && !indexes.contains(&one.index) && !one.is_covered(&indexes, all)
            });
            wanted.extend(more.cloned());
        }
        wanted
    }

    fn start_one(
        &self,
        state: &mut State,
        interface: &Interface,
        all: &[Interface],
    ) -> Result<Served> {
        ensure!(
            interface.is_ethernet,
            "{} is not Ethernet, and nothing else can be served; leave it out",
            interface.name
        );
        let before = state.left_on(interface)?;
        // First: from the first frame on, somebody takes what the program lets pass.
        let mut served = Served::start(
            interface,
            interface.carriers(all),
            &self.tables,
            &self.limits,
        )?;
        if before.is_some() && state.awaits_tables {
            warn!(
                "{}: the kernel goes on answering by the tables of a daemon that was killed, until \
                 the files are mended and reloaded",
                interface.name
            );
        } else {
            self.attach(state, &mut served, before)?;
        }
        Ok(served)
    }

    /// Serves by XDP from now on, if that is asked for and can be, in the place of what a killed
    /// daemon has left there.
    pub(super) fn attach(
        &self,
        state: &mut State,
        served: &mut Served,
        before: Option<Leftover>,
    ) -> Result<()> {
        let DatapathPlan::Xdp(options) = self.settings.path else {
            return Ok(());
        };
        let State {
            pins,
            kernel_tables,
            ..
        } = state;
        let attach = || {
            let tables = match kernel_tables.take() {
                Some(tables) => tables,
                None => KernelTables::new(&self.tables.load())?,
            };
            let xdp = Xdp {
                options,
                tables: kernel_tables.insert(tables),
                pins: pins.as_ref().filter(|_| self.settings.pins),
                before,
            };
            served.attach(xdp, &self.tables)
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
