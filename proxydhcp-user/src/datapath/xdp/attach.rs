//! Attaches the program to its interface: anew, or in place of one that a killed daemon has left.

use std::fmt;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, XdpMode};
use aya::sys::SyscallError;
use nix::errno::Errno;
use tracing::debug;

use super::extack::in_the_kernels_words;
use super::{Program, remedy};
use crate::datapath::xdp::pins::{self, Leftover};
use crate::sys::interface::{AttachMode, AttachedXdp, Interface};

impl Program {
    /// Attaches the program to `interface`, where it runs on `carriers`, in the first of `modes`
    /// that works. If a previous daemon has left a program in one of the modes (`before`), this one
    /// replaces it in one step. Returns why the first mode was not used, if it was not.
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
    ) -> Result<Option<Refused>> {
        let mut ended = String::new();
        if let Some(before) = before {
            if self.take_over(interface, modes, before)? {
                return Ok(
                    (modes.first() != Some(&self.mode)).then(|| Refused::taken_over(self.mode))
                );
            }
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
                    self.link = Some(program.take_link(id)?.try_into()?);
                    self.mode = mode;
                    self.pin(interface, None)?;
                    return Ok(refusals.into_iter().next());
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

    /// Puts the program on the link of a previous one, if that is attached in one of `modes`;
    /// otherwise removes that link.
    fn take_over(
        &mut self,
        interface: &Interface,
        modes: &[AttachMode],
        before: Leftover,
    ) -> Result<bool> {
        let folder = before.folder().to_owned();
        let mode = interface.xdp.and_then(|xdp| xdp.mode);
        let (Some(mode), Some(link)) =
            (mode.filter(|mode| modes.contains(mode)), before.into_link())
        else {
            pins::remove(&folder)?;
            return Ok(false);
        };
        let program = self.xdp()?;
        let id = program
            .attach_to_link(XdpLink::try_from(link)?)
            .with_context(|| {
                format!(
                    "{}: the program cannot take the place of the one that is pinned in {}; \
                     `proxydhcp detach` removes that",
                    interface.name,
                    folder.display()
                )
            })?;
        self.link = Some(program.take_link(id)?.try_into()?);
        self.mode = mode;
        self.stays();
        self.pin(interface, Some(&folder))?;
        Ok(true)
    }
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
