//! What daemons that were killed have left: it goes on answering until there are tables, and then
//! programs take its place, or it is removed.

use std::io;
use std::mem;
use std::time::Instant;

use tracing::{error, info, warn};

use super::failure::Failure;
use super::reload::is_empty;
use super::{Service, Settings, State};
use crate::datapath::served_interface::{Path, Served};
use crate::datapath::xdp::pins::{Pins, PinsError, Remainder};
use crate::sys::interface::{self, Interface};

/// The folder of pins, with what is left there by others.
pub(super) async fn take_pins(settings: &Settings) -> Option<Pins> {
    let is_to_pin = settings.pins && matches!(settings.path, Path::Xdp(_));
    match Pins::take().await {
        Ok(pins) => return Some(pins),
        Err(error) if is_to_pin => {
            warn!("if this daemon is killed, the kernel will not go on answering: {error}");
        }
        Err(PinsError::NoBpfFs) => {}
        Err(error) => warn!("what a killed daemon may have left is not looked for: {error}"),
    }
    None
}

/// Whether something that is left on an interface that is to be served answers nodes.
pub(super) fn answer_nodes(
    settings: &Settings,
    pins: Option<&Pins>,
    all: &[Interface],
) -> io::Result<bool> {
    let Some(pins) = pins else { return Ok(false) };
    let wanted = interface::choose(all, &settings.interfaces);
    let answers =
        |it: &Remainder| it.has_nodes() && wanted.iter().any(|interface| it.is_on(interface));
    Ok(pins.remainders(&[])?.iter().any(answers))
}

impl State {
    fn remainders(&self) -> io::Result<Vec<Remainder>> {
        let Some(pins) = &self.pins else {
            return Ok(Vec::new());
        };
        let own: Vec<_> = self.served.iter().filter_map(Served::program).collect();
        pins.remainders(&own)
    }

    /// What is left on an interface that is about to be served.
    pub(super) fn left_on(&self, interface: &Interface) -> io::Result<Option<Remainder>> {
        let folder = self.pins.as_ref().map(|pins| pins.of(interface.index));
        let mut found = None;
        for remainder in self.remainders()? {
            if remainder.is_on(interface) {
                found = Some(remainder);
            } else if Some(remainder.folder()) == folder.as_deref() {
                // It answers nothing, and is in the way.
                remainder.remove(&[])?;
            }
        }
        Ok(found)
    }

    /// Whether nodes are answered, by these tables or by those of a daemon that was killed.
    pub(super) fn has_nodes(&self) -> bool {
        let left = || self.remainders().unwrap_or_default();
        !is_empty(&self.table) || self.awaits_tables && left().iter().any(Remainder::has_nodes)
    }
}

impl Service {
    /// There are tables from now on: puts programs on what was left to answer until then.
    pub(super) fn take_over_what_was_left(&self) {
        let mut state = self.lock();
        if !mem::take(&mut state.awaits_tables) {
            return;
        }
        let mut remainders = state.remainders().unwrap_or_default();
        for mut served in mem::take(&mut state.served) {
            let is_here = |it: &Remainder| it.is_on(served.interface());
            if let Some(at) = remainders.iter().position(is_here) {
                let before = remainders.swap_remove(at);
                if let Err(error) = self.attach(&mut state, &mut served, Some(before)) {
                    let interface = served.interface();
                    let failure = Failure::new(interface, &error, None, Instant::now());
                    error!("{}", failure.unserved);
                    state.failures.push(failure);
                    self.failures_changed.notify_one();
                    continue;
                }
                served.stays();
                info!("serving {}", served.describe());
            }
            state.served.push(served);
        }
        let all: Vec<_> = state
            .served
            .iter()
            .map(|it| it.interface().clone())
            .collect();
        self.remove_remainders(&mut state, &all);
    }

    /// Takes out of the kernel what is not taken over: it would go on answering by tables that
    /// nobody renews.
    pub(super) fn remove_remainders(&self, state: &mut State, all: &[Interface]) {
        let remainders = state.remainders().unwrap_or_else(|error| {
            warn!("what a killed daemon may have left is not removed: {error}");
            Vec::new()
        });
        let mut awaited = false;
        for remainder in remainders {
            let mut served = state.served.iter();
            if state.awaits_tables && served.any(|it| remainder.is_on(it.interface())) {
                awaited = true;
                continue;
            }
            match remainder.remove(all) {
                Ok(removed) => info!("{removed}"),
                Err(error) => warn!("{error}"),
            }
        }
        if !self.settings.pins && !awaited {
            // Another daemon may have the folder.
            state.pins = None;
        }
    }
}
