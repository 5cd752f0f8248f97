//! What killed daemons have left. It goes on answering until there are tables; then new programs
//! replace it, or it is removed.

use std::io;
use std::mem;
use std::time::Instant;

use anyhow::Result;
use tracing::{error, info, warn};

use super::failure::Failure;
use super::interfaces::Interfaces;
use crate::daemon::Settings;
use crate::datapath::served_interface::DatapathPlan;
use crate::datapath::xdp::Renewal;
use crate::datapath::xdp::pins::{Leftover, Pins, PinsError};
use crate::sys::interface::{self, Interface};

/// Takes the folder of pins, with what others have left there. A daemon that pins nothing takes it
/// too, so that a second one finds out that there is a first.
///
/// # Errors
///
/// If another daemon runs in this network namespace.
pub(super) async fn take_pins(settings: &Settings) -> Result<Option<Pins>, PinsError> {
    let is_to_pin = settings.pins && matches!(settings.plan, DatapathPlan::Xdp(_));
    match Pins::take().await {
        Ok(pins) => return Ok(Some(pins)),
        Err(error @ PinsError::Twin) => return Err(error),
        Err(error) if is_to_pin => {
            warn!("if this daemon is killed, the kernel will not go on answering: {error}");
        }
        Err(PinsError::NoBpfFs) => {}
        Err(error) => warn!("what a killed daemon may have left is not looked for: {error}"),
    }
    Ok(None)
}

/// Renews what killed daemons have left until it is taken over. What has stopped answering is not
/// revived.
pub(super) fn renew(settings: &Settings, pins: Option<&Pins>) -> Result<Renewal> {
    let renewal = Renewal::start(settings.outlive)?;
    let deadlines = pins.map(Pins::deadlines).unwrap_or_default();
    for deadline in deadlines.into_iter().filter(|it| !it.is_over()) {
        renewal.renew(deadline);
    }
    Ok(renewal)
}

/// Whether anything left on an interface to serve answers nodes.
pub(super) fn answer_nodes(
    settings: &Settings,
    pins: Option<&Pins>,
    all: &[Interface],
) -> io::Result<bool> {
    let Some(pins) = pins else { return Ok(false) };
    let wanted = interface::choose(all, &settings.interfaces);
    let answers =
        |it: &Leftover| it.has_nodes() && wanted.iter().any(|interface| it.is_on(interface));
    Ok(pins.leftovers(&[])?.iter().any(answers))
}

impl Interfaces {
    fn leftovers(&self) -> io::Result<Vec<Leftover>> {
        let Some(pins) = &self.pins else {
            return Ok(Vec::new());
        };
        let attached = self.served.iter().filter(|served| served.is_attached());
        let own: Vec<_> = attached.map(|served| served.interface().index).collect();
        pins.leftovers(&own)
    }

    /// What is left on an interface that is about to be served.
    ///
    /// # Errors
    ///
    /// If the folder of pins cannot be read, or something that is in the way cannot be removed.
    pub(super) fn left_on(&self, interface: &Interface) -> io::Result<Option<Leftover>> {
        let folder = self.pins.as_ref().map(|pins| pins.of(interface.index));
        let mut found = None;
        for leftover in self.leftovers()? {
            if leftover.is_on(interface) {
                found = Some(leftover);
            } else if Some(leftover.folder()) == folder.as_deref() {
                // It answers nothing here, and is in the way.
                leftover.remove(&[])?;
            }
        }
        Ok(found)
    }

    /// Whether what is left answers nodes.
    pub(super) fn leftovers_have_nodes(&self) -> bool {
        let left = self.leftovers().unwrap_or_default();
        left.iter().any(Leftover::has_nodes)
    }

    /// Replaces what was left by programs of this daemon, now that there are tables.
    pub(super) fn take_over_leftovers(&mut self) {
        let mut leftovers = self.leftovers().unwrap_or_default();
        for mut served in mem::take(&mut self.served) {
            let is_here = |it: &Leftover| it.is_on(served.interface());
            if let Some(at) = leftovers.iter().position(is_here) {
                let before = leftovers.swap_remove(at);
                if let Err(error) = self.attach(&mut served, Some(before)) {
                    let interface = served.interface();
                    let failure = Failure::new(interface, &error, None, Instant::now());
                    error!("{}", failure.unserved);
                    self.failures.push(failure);
                    continue;
                }
                served.stays();
                info!("serving {}", served.describe());
            }
            self.served.push(served);
        }
        let all: Vec<_> = self
            .served
            .iter()
            .map(|it| it.interface().clone())
            .collect();
        self.remove_leftovers(&all, false);
        self.answer_from_now_on();
    }

    /// Removes what is not taken over: it would go on answering from tables that nobody updates.
    /// While the first tables are awaited, what is on a served interface stays.
    pub(super) fn remove_leftovers(&mut self, all: &[Interface], awaits_tables: bool) {
        let leftovers = self.leftovers().unwrap_or_else(|error| {
            warn!("what a killed daemon may have left is not removed: {error}");
            Vec::new()
        });
        for leftover in leftovers {
            let mut served = self.served.iter();
            let is_awaited = awaits_tables && served.any(|it| leftover.is_on(it.interface()));
            if is_awaited || !leftover.is_removable(all) {
                continue;
            }
            match leftover.remove(all) {
                Ok(removed) => info!("{removed}"),
                Err(error) => warn!("{error}"),
            }
        }
    }
}
