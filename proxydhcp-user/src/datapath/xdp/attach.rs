//! Attaches the program to an interface: anew, or in place of one that a killed daemon has left.

use std::fmt;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, XdpMode};
use aya::sys::SyscallError;
use nix::errno::Errno;
use tracing::{debug, warn};

use super::extack::in_the_kernels_words;
use super::pin::Pinned;
use super::{Program, remedy};
use crate::datapath::xdp::pins::{Leftover, Pins};
use crate::sys::interface::{AttachMode, AttachedXdp, Interface};
use crate::text::with_causes;

/// The program on an interface. Dropping it detaches the program, unless it is pinned to stay.
#[derive(Debug)]
pub struct Attachment {
    /// What holds it on the interface; `None` if it could not be pinned.
    link: Option<FdLink>,
    pinned: Option<Pinned>,
    mode: AttachMode,
    /// Why that is not the first of the modes, if it is not.
    refused: Option<Refused>,
}

impl Attachment {
    /// How the program is attached.
    pub fn mode(&self) -> AttachMode {
        self.mode
    }

    /// Why that is not the first of the modes, if it is not.
    pub fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }

    /// From now on, a pinned program is only removed from the kernel by [`Attachment::detach`].
    pub fn stays(&mut self) {
        if let Some(pinned) = &mut self.pinned {
            pinned.stays(true);
        }
    }

    /// Detaches the program, whether it is pinned or not.
    pub fn detach(mut self) {
        if let Some(pinned) = &mut self.pinned {
            pinned.stays(false);
        }
    }

    /// Whether it is pinned, if it should be.
    pub fn is_pinned_as_meant(&self) -> bool {
        self.pinned.as_ref().is_none_or(Pinned::is_there)
    }

    /// Records for a successor whether nodes are answered.
    pub fn set_has_nodes(&self, has_nodes: bool) {
        if let Some(pinned) = &self.pinned {
            pinned.set_has_nodes(has_nodes);
        }
    }

    /// Records for a successor that the tables were put into service now.
    pub fn set_time(&self) {
        if let Some(pinned) = &self.pinned {
            pinned.set_time();
        }
    }
}

impl Program {
    /// Attaches the program to `interface`, which it must count for already, and where it runs on
    /// `carriers`, in the first of `modes` that works. If a previous daemon has left a program in one
    /// of the modes (`before`), this one replaces it in one step. With `pins`, it outlives this
    /// process.
    ///
    /// # Errors
    ///
    /// If the program cannot be attached in any of the modes; the error contains a [`Refused`] if
    /// the kernel refuses.
    pub fn attach(
        &mut self,
        interface: &Interface,
        carriers: &[Interface],
        modes: &[AttachMode],
        before: Option<Leftover>,
        pins: Option<&Pins>,
    ) -> Result<Attachment> {
        let mut ended = String::new();
        if let Some(before) = before {
            let mode = interface.xdp.and_then(|xdp| xdp.mode);
            if let Some(mode) = mode.filter(|mode| modes.contains(mode)) {
                let mut attached = self.take_over(interface, mode, &before, pins)?;
                let is_best = modes.first() == Some(&mode);
                attached.refused = (!is_best).then(|| Refused::taken_over(mode));
                return Ok(attached);
            }
            before.remove(&[])?;
            ended = end_of_another_mode(interface);
        }
        let program = self.xdp()?;
        let mut refusals = Vec::new();
        for &mode in modes {
            let xdp_mode = match mode {
                AttachMode::Native => XdpMode::Driver,
                AttachMode::Generic => XdpMode::Skb,
            };
            match program.attach_to_if_index(interface.index, xdp_mode) {
                Ok(id) => {
                    let link = program.take_link(id)?.try_into()?;
                    let mut attached = self.pin_to_stay(interface, link, mode, pins)?;
                    attached.refused = refusals.into_iter().next();
                    return Ok(attached);
                }
                Err(error) => {
                    let words = in_the_kernels_words(interface.index, program.fd()?.as_fd(), mode);
                    let words = words.unwrap_or_else(|error| {
                        debug!("the kernel does not say why: {error}");
                        None
                    });
                    refusals.push(Refused::new(&error, words, interface, carriers));
                }
            }
        }
        let why: Vec<_> = modes
            .iter()
            .zip(&refusals)
            .map(|(mode, refused)| format!("{mode}: {}", refused.why))
            .collect();
        bail!(Refused {
            why: format!(
                "XDP does not attach to {}: {}{ended}",
                interface.name,
                why.join("; ")
            ),
            remedy: refusals.into_iter().find_map(|refused| refused.remedy),
        })
    }

    /// Puts the program on the link of a previous one.
    fn take_over(
        &mut self,
        interface: &Interface,
        mode: AttachMode,
        before: &Leftover,
        pins: Option<&Pins>,
    ) -> Result<Attachment> {
        let program = self.xdp()?;
        let id = program
            .attach_to_link(XdpLink::try_from(before.link()?)?)
            .with_context(|| {
                format!(
                    "{}: the program cannot take the place of the one that is pinned in {}; \
                     `proxydhcp detach` removes that",
                    interface.name,
                    before.folder().display()
                )
            })?;
        let link: FdLink = program.take_link(id)?.try_into()?;
        let folder = pins.map(|pins| pins.of(interface.index));
        if folder.as_deref() == Some(before.folder()) {
            let pinned = Pinned::of(before.folder().to_owned());
            self.show_in(interface, pins);
            pinned.set_has_nodes(self.has_nodes);
            pinned.set_time();
            return Ok(Attachment {
                link: Some(link),
                pinned: Some(pinned),
                mode,
                refused: None,
            });
        }
        // It is pinned in both places for a moment.
        let mut attached = self.pin_to_stay(interface, link, mode, pins)?;
        attached.stays();
        before.forget()?;
        Ok(attached)
    }

    /// Pins all that answers without this process, if it is to. Without pins it serves as well.
    fn pin_to_stay(
        &mut self,
        interface: &Interface,
        link: FdLink,
        mode: AttachMode,
        pins: Option<&Pins>,
    ) -> Result<Attachment> {
        let mut attached = Attachment {
            link: Some(link),
            pinned: None,
            mode,
            refused: None,
        };
        let Some(pins) = pins else {
            return Ok(attached);
        };
        self.show_in(interface, Some(pins));
        match Pinned::pin(&mut attached.link, pins.of(interface.index), self.has_nodes) {
            Ok(pinned) => attached.pinned = Some(pinned),
            // The link is lost where it cannot be pinned.
            Err(error) if attached.link.is_none() => {
                return Err(error.context("cannot pin the program's link; --no-pin does without"));
            }
            Err(error) => warn_of_pins(interface, &error),
        }
        Ok(attached)
    }

    /// Pins the program and its maps, once.
    fn show_in(&mut self, interface: &Interface, pins: Option<&Pins>) {
        let Some(pins) = pins.filter(|_| !self.is_shown) else {
            return;
        };
        match self.pin(pins.folder()) {
            Ok(()) => self.is_shown = true,
            Err(error) => warn_of_pins(interface, &error),
        }
    }
}

fn warn_of_pins(interface: &Interface, error: &anyhow::Error) {
    let name = &interface.name;
    warn!(
        "{name}: a killed daemon's successor will start anew: {}",
        with_causes(error)
    );
}

/// The note for an administrator if the program does not attach after a leftover in another mode
/// was removed for it. An interface has programs of only one mode at a time.
fn end_of_another_mode(interface: &Interface) -> String {
    interface
        .xdp
        .and_then(|xdp| xdp.mode)
        .map(|mode| {
            format!(
                "; the kernel no longer answers, because what a killed daemon left there in {mode} \
                 mode had to be removed first (--xdp-mode {mode} goes back to it)"
            )
        })
        .unwrap_or_default()
}

/// Why a program is not attached as requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The reason, in the kernel's own words if it has any.
    pub why: String,
    /// The remedy, if one is known.
    pub remedy: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remedy {
            Some(remedy) => write!(f, "{}; remedy: {remedy}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl Refused {
    fn new(
        error: &ProgramError,
        words: Option<String>,
        interface: &Interface,
        carriers: &[Interface],
    ) -> Self {
        let remedy = words.as_deref();
        let remedy = remedy.and_then(|words| remedy::of(words, interface, carriers));
        Self {
            why: explain(error, words, interface),
            remedy,
        }
    }

    fn taken_over(mode: AttachMode) -> Self {
        Self {
            why: format!(
                "a previous daemon had attached it in {mode} mode, and this one keeps that"
            ),
            remedy: Some("stop the daemon (SIGTERM) and start it".to_owned()),
        }
    }
}

/// Explains the kernel's refusal to an administrator.
fn explain(error: &ProgramError, words: Option<String>, interface: &Interface) -> String {
    let code = match error {
        ProgramError::SyscallError(SyscallError { io_error, .. }) => io_error.raw_os_error(),
        _ => None,
    };
    match (code.map(Errno::from_raw), interface.xdp, words) {
        (Some(Errno::EBUSY | Errno::EEXIST), Some(AttachedXdp { program: id, .. }), _) => format!(
            "another XDP program (id {id}; see `bpftool prog show id {id}`) holds the interface"
        ),
        (_, _, Some(words)) => format!("the kernel says \"{words}\""),
        (Some(Errno::EBUSY | Errno::EEXIST), None, None) => {
            "another XDP program holds the interface".to_owned()
        }
        (Some(Errno::EOPNOTSUPP), _, None) => {
            "the driver has no support for it as it is set up; the kernel's log may say more (dmesg)"
                .to_owned()
        }
        (Some(Errno::EINVAL | Errno::ERANGE | Errno::E2BIG), _, None) => format!(
            "the driver refuses it; its MTU of {} may be too large, or it merges segments (LRO); the \
             kernel's log may say more (dmesg)",
            interface.mtu
        ),
        _ => match error {
            ProgramError::SyscallError(error) => error.io_error.to_string(),
            error => error.to_string(),
        },
    }
}
