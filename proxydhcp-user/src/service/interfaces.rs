//! The interfaces that are served: at the start, and as they come and go.

use std::mem;

use anyhow::{Result, anyhow};
use tokio::task;
use tracing::{error, info, warn};

use super::{Service, State};
use crate::interface::{self, Interface};
use crate::pins::{self, Pins, PinsError, Remainder};
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
        let is_to_pin = self.settings.pins && matches!(self.settings.path, Path::Xdp(_));
        match Pins::take() {
            Ok(pins) => return Some(pins),
            Err(error) if is_to_pin => {
                warn!("if this daemon is killed, the kernel will not go on answering: {error}");
            }
            Err(PinsError::NoBpfFs) => {}
            Err(error) => warn!("what a killed daemon may have left is not looked for: {error}"),
        }
        None
    }

    /// Puts programs on what was left to answer until there are tables.
    pub(super) fn take_over_what_was_left(&self) {
        let mut state = self.lock();
        for left in mem::take(&mut state.left) {
            let found = state
                .served
                .iter()
                .position(|served| left.is_on(served.interface()));
            let Some(mut served) = found.map(|at| state.served.swap_remove(at)) else {
                remove(left, &[]);
                continue;
            };
            let xdp = self.xdp(&mut state, served.interface(), Some(left));
            let taken = xdp.and_then(|xdp| match xdp {
                Some(xdp) => served.attach(xdp, &self.tables),
                None => Ok(()),
            });
            match taken {
                Ok(()) => info!("serving {}", served.describe()),
                Err(error) => error!("{}: {error:#}", served.interface().name),
            }
            served.stays();
            state.served.push(served);
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
            // Threads know the hardware address that they were started with. Without its program,
            // it is another one by the same number, or the program was taken away.
            let is_same = |it: &&Interface| {
                let served_as = served.interface();
                let program = served.program();
                (it.index, it.mac) == (served_as.index, served_as.mac)
                    && (program.is_none() || program == it.xdp.map(|xdp| xdp.program))
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
                Err(error) => state.unserved.push(if interface.is_there() {
                    Unserved::failed(interface, &error)
                } else {
                    Unserved::missing(&interface.name)
                }),
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
        all_before: &mut Vec<Remainder>,
    ) -> Result<Served> {
        let mut before = all_before
            .iter()
            .position(|remainder| remainder.is_on(interface))
            .map(|at| all_before.swap_remove(at));
        // What is pinned in this interface's folder and is not on it answers nothing.
        let own = state.pins.as_ref().map(|pins| pins.of(interface.index));
        if let Some(at) = all_before
            .iter()
            .position(|remainder| Some(remainder.folder()) == own.as_deref())
        {
            all_before.swap_remove(at).remove()?;
        }
        if let Some(before) = before.take_if(|_| state.rejected.is_some()) {
            warn!(
                "{}: the kernel goes on answering by the tables of a daemon that was killed, until \
                 the files are mended and reloaded",
                interface.name
            );
            state.left.push(before);
        }
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
        if state.left.iter().any(|left| left.is_on(interface)) {
            return Ok(None);
        }
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
pub(super) fn remove(remainder: Remainder, all: &[Interface]) {
    let what = remainder.describe(all);
    match remainder.remove() {
        Ok(()) => info!("{what}: removed"),
        Err(error) => warn!("{what}: it cannot be removed: {error}"),
    }
}
