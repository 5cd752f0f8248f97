//! Attaching the program to its interface: anew, or in the place of one that a killed daemon left.

use anyhow::{Context, Result, bail};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, XdpMode};
use aya::sys::SyscallError;
use nix::errno::Errno;

use super::Program;
use crate::datapath::xdp::pins::{self, Leftover};
use crate::sys::interface::{AttachMode, AttachedXdp, Interface};

impl Program {
    /// Attaches the program to `interface` in the first of `modes` that works; or, in one step, in
    /// the place of the program that a daemon `before` has left there, if that is attached in one
    /// of them.
    ///
    /// # Errors
    ///
    /// Why it cannot be attached in any of the modes.
    pub fn attach(
        &mut self,
        interface: &Interface,
        modes: &[AttachMode],
        before: Option<Leftover>,
    ) -> Result<()> {
        let mut ended = String::new();
        if let Some(before) = before {
            if self.take_over(interface, modes, before)? {
                return Ok(());
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
                    return self.pin(interface, None);
                }
                Err(error) => refusals.push(format!("{mode}: {}", explain(&error, interface))),
            }
        }
        bail!(
            "XDP does not attach to {}: {}{ended}",
            interface.name,
            refusals.join("; ")
        )
    }

    /// Puts the program on the link of one before, if that is attached in one of `modes`; else
    /// removes that.
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

/// What an administrator is to know where the program does not attach after what was left in another
/// mode was removed for it: an interface has programs of one mode at a time.
fn end_of_another_mode(interface: &Interface) -> String {
    interface
        .xdp
        .and_then(|xdp| xdp.mode)
        .map(|mode| {
            format!(
                "; the kernel does not answer any more, for what a killed daemon left there in {mode} \
                 mode had to be removed first (--xdp-mode {mode} goes back to it)"
            )
        })
        .unwrap_or_default()
}

/// The kernel's error codes in the words of an administrator.
fn explain(error: &ProgramError, interface: &Interface) -> String {
    let code = match error {
        ProgramError::SyscallError(SyscallError { io_error, .. }) => io_error.raw_os_error(),
        _ => None,
    };
    match (code.map(Errno::from_raw), interface.xdp) {
        (Some(Errno::EBUSY | Errno::EEXIST), Some(AttachedXdp { program: id, .. })) => format!(
            "another XDP program (id {id}; see `bpftool prog show id {id}`) holds the interface"
        ),
        (Some(Errno::EBUSY | Errno::EEXIST), None) => {
            "another XDP program holds the interface".to_owned()
        }
        (Some(Errno::EOPNOTSUPP), _) => "the driver has no support for it".to_owned(),
        (Some(Errno::EINVAL | Errno::ERANGE | Errno::E2BIG), _) => format!(
            "the driver refuses it; its MTU of {} may be too large",
            interface.mtu
        ),
        _ => match error {
            ProgramError::SyscallError(error) => error.io_error.to_string(),
            error => error.to_string(),
        },
    }
}
