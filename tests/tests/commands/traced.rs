//! A process that is stopped before each of its system calls, and killed there if need be.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// A process that waits before a system call.
pub(crate) struct Call {
    pid: Pid,
    /// The call's place among all of the process, from 0.
    pub(crate) place: usize,
}

impl Call {
    /// The call's number.
    pub(crate) fn number(&self) -> Result<libc::c_long> {
        let call = fs::read_to_string(format!("/proc/{}/syscall", self.pid))?;
        let number = call.split_whitespace().next();
        Ok(number.context("no call")?.parse()?)
    }

    /// What the call would bring to the disk, if it is fsync(2).
    pub(crate) fn syncs(&self) -> Result<Option<PathBuf>> {
        let call = fs::read_to_string(format!("/proc/{}/syscall", self.pid))?;
        let mut words = call.split_whitespace();
        if words.next() != Some(&libc::SYS_fsync.to_string()) {
            return Ok(None);
        }
        let number = words.next().context("no argument")?;
        let number = u32::from_str_radix(number.trim_start_matches("0x"), 16)?;
        Ok(Some(fs::read_link(format!(
            "/proc/{}/fd/{number}",
            self.pid
        ))?))
    }
}

/// Runs `command` to its end, or kills it (SIGKILL) before the first call for which `go_on` is
/// false. Returns its exit code, if it had the time.
pub(crate) fn run(
    mut command: Command,
    mut go_on: impl FnMut(&Call) -> Result<bool>,
) -> Result<Option<i32>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: between fork and exec there is but one system call, and no memory is touched.
    unsafe {
        command.pre_exec(|| ptrace::traceme().map_err(io::Error::from));
    }
    let child = command.spawn()?;
    let pid = Pid::from_raw(child.id().cast_signed());
    // It stops once it is the new program.
    waitpid(pid, None)?;
    ptrace::setoptions(
        pid,
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL,
    )?;
    let mut call = Call { pid, place: 0 };
    let mut entering = true;
    let mut signal = None;
    loop {
        ptrace::syscall(pid, signal.take())?;
        match waitpid(pid, None)? {
            WaitStatus::PtraceSyscall(_) => {
                if entering {
                    if !go_on(&call)? {
                        nix::sys::signal::kill(pid, Signal::SIGKILL)?;
                        waitpid(pid, None)?;
                        return Ok(None);
                    }
                    call.place += 1;
                }
                entering = !entering;
            }
            WaitStatus::Stopped(_, other) => signal = Some(other),
            WaitStatus::Exited(_, code) => return Ok(Some(code)),
            other => bail!("the process came to {other:?}"),
        }
    }
}
