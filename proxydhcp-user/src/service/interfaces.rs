//! The interfaces that are served: at the start, and as they come and go.

use std::mem;

use anyhow::{Result, anyhow};
use tokio::task;
use tracing::{error, info, warn};

use super::{Service, State};
use crate::interface::{self, Interface};
use crate::pins::{self, Pins, Remainder};
use crate::program::KernelTables;
use crate::served::{self, Path, Served, Xdp};
use crate::status::Unserved;

impl Service {
    /// Serves the interfaces out of `all` that are to be served, in the place of a daemon that was
    /// killed where there was one.
    pub(super) fn start_interfaces(&self, all: &[Interface]) -> Result<()> {
        let pins = self.take_pins();
        let mut before = match &pins {
            Some(pins) => pins.remainders()?,
            None => Vec::new(),
        };
        let mut state = self.lock();
        state.pins = pins.filter(|_| self.settings.pins);
        self.serve(&mut state, all, &mut before);
        if let Some(failed) = state.unserved.iter().find(|unserved| unserved.is_there) {
            return Err(anyhow!(failed.why.clone()));
        }
        state.served.iter_mut().for_each(Served::stays);
        for remainder in before {
            remove(remainder, all);
        }
        Ok(())
    }

    /// The folder of pins, with what is left there by others.
    fn take_pins(&self) -> Option<Pins> {
        match (Pins::take(), self.settings.path) {
            (Ok(pins), _) => Some(pins),
            (Err(error), Path::Xdp(_)) if self.settings.pins => {
                warn!("if this daemon is killed, the kernel will not go on answering: {error}");
                None
            }
            (Err(_), _) => None,
        }
    }

    /// Looks at the interfaces again: serves those that have come, lets go of those that have gone,
    /// and answers to the addresses that this host has now.
    ///
    /// # Errors
    ///
    /// Netlink's; the tables for the addresses cannot be installed, and those in service stay.
    pub(crate) async fn interfaces_changed(&self) -> Result<()> {
        let _one_at_a_time = self.installing.lock().await;
        let all = interface::list().await?;
        let changed = task::block_in_place(|| {
            let readdressed = self.readdress(interface::local_addresses(&all));
            let mut state = self.lock();
            let before = mem::take(&mut state.unserved);
            self.serve(&mut state, &all, &mut Vec::new());
            state.served.iter_mut().for_each(Served::stays);
            for unserved in &state.unserved {
                if !before.contains(unserved) {
                    error!("{unserved}");
                }
            }
            readdressed
        });
        self.reloading.send_replace(false);
        changed
    }

    /// Starts and stops datapaths, so that those interfaces are served that are to be.
    fn serve(&self, state: &mut State, all: &[Interface], before: &mut Vec<Remainder>) {
        let names = &self.settings.interfaces;
        let wanted = self.wanted(state, all);
        let is_wanted = |served: &Served| {
            // Threads know the hardware address that they were started with.
            let is_same = |it: &&Interface| {
                (it.index, it.mac) == (served.interface().index, served.interface().mac)
            };
            wanted.iter().any(|wanted| is_same(&wanted))
        };
        let (mut kept, gone): (Vec<_>, Vec<_>) = mem::take(&mut state.served)
            .into_iter()
            .partition(is_wanted);
        for gone in &gone {
            info!("{} is not served any more", gone.interface().name);
        }
        served::stop(gone);
        state.unserved = names
            .iter()
            .filter(|name| !all.iter().any(|interface| interface.name == **name))
            .map(|name| Unserved::missing(name))
            .collect();
        for interface in &wanted {
            let known = kept
                .iter_mut()
                .find(|kept| kept.interface().index == interface.index);
            if let Some(known) = known {
                known.rename(&interface.name);
                continue;
            }
            match self.start_one(state, interface, before) {
                Ok(started) => {
                    info!("serving {}", started.describe());
                    kept.push(started);
                }
                Err(error) => state.unserved.push(Unserved::failed(interface, &error)),
            }
        }
        state.served = kept;
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
            let more = all
                .iter()
                .filter(|one| is_served(one.index) && !indexes.contains(&one.index));
            wanted.extend(more.cloned());
        }
        wanted
    }

    fn start_one(
        &self,
        state: &mut State,
        interface: &Interface,
        before: &mut Vec<Remainder>,
    ) -> Result<Served> {
        let before = before
            .iter()
            .position(|remainder| remainder.is_on(interface))
            .map(|at| before.swap_remove(at));
        let folder = before.as_ref().map(|before| before.folder().to_owned());
        let served = Served::start(
            interface,
            self.xdp(state, interface, before)?,
            &self.tables,
            &self.limits,
        )?;
        if let Some(folder) = folder.filter(|_| !served.has_program()) {
            // Else it would go on answering by tables that nobody renews.
            pins::remove(&folder)?;
            info!("{}: what a killed daemon left: removed", interface.name);
        }
        Ok(served)
    }

    /// What it takes to serve an interface by XDP, if it is to be so and can be.
    fn xdp<'s>(
        &self,
        state: &'s mut State,
        interface: &Interface,
        before: Option<Remainder>,
    ) -> Result<Option<Xdp<'s>>> {
        let Path::Xdp(wish) = self.settings.path else {
            return Ok(None);
        };
        if state.kernel_tables.is_none() {
            match KernelTables::new(&self.tables.load()) {
                Ok(tables) => state.kernel_tables = Some(tables),
                Err(error) if wish.or_raw => warn!("serving {} by raw: {error:#}", interface.name),
                Err(error) => return Err(error),
            }
        }
        Ok(state.kernel_tables.as_ref().map(|tables| Xdp {
            wish,
            tables,
            pins: state.pins.as_ref(),
            before,
        }))
    }
}

/// Takes what is not taken over out of the kernel.
fn remove(remainder: Remainder, all: &[Interface]) {
    let what = remainder.describe(all);
    match remainder.remove() {
        Ok(()) => info!("{what}: removed"),
        Err(error) => warn!("{what}: it cannot be removed: {error}"),
    }
}
