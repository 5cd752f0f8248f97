//! Assigns cores, in the same way for all contenders.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of the generator and of the responder. On a machine with a single core, nothing is
/// pinned.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cores(Option<(usize, usize)>);

impl Cores {
    /// Selects the first two cores that this process may use.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot ask for this process's cores")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        Ok(Self(cores.next().zip(cores.next())))
    }

    /// Pins this thread, and those that it starts from now on, to the generator's core.
    pub(crate) fn pin_generator(self) -> Result<()> {
        let Some((generator, _)) = self.0 else {
            return Ok(());
        };
        sched_setaffinity(None, &only(generator)).context("cannot pin the generator to its core")
    }

    /// Pins this thread, and those that it starts from now on, to the responder's core.
    pub(crate) fn pin_to_responder(self) -> Result<()> {
        let Some((_, responder)) = self.0 else {
            return Ok(());
        };
        sched_setaffinity(None, &only(responder)).context("cannot pin to the responder's core")
    }

    /// Makes `command` run on the responder's core.
    pub(crate) fn pin_responder(self, command: &mut Command) {
        let Some((_, responder)) = self.0 else {
            return;
        };
        let core = only(responder);
        // SAFETY: the closure runs between fork and exec and makes one system call; it neither
        // allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || sched_setaffinity(None, &core).map_err(io::Error::from));
        }
    }

    /// Describes the assignment, for the reader of the results.
    pub(crate) fn describe(self) -> String {
        match self.0 {
            Some((generator, responder)) => format!(
                "core {generator}: the clients, and the kernel's work on their frames (a veth \
                 pair does it on the sender's core), XDP programs included; \
                 core {responder}: processes that answer"
            ),
            None => "one core for everything".to_owned(),
        }
    }
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}
