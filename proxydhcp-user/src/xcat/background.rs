//! Moves the daemon into the background.

use std::fs::{self, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

/// How long the daemon is waited for. Its own waits are shorter, so a longer one means a hanging
/// disk.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The process in which the call returns.
pub(super) enum Side {
    /// The original process, which should exit.
    Starter(Outcome),
    /// The daemon.
    Daemon(Starter),
}

/// What became of the daemon.
pub(super) enum Outcome {
    /// It serves.
    Serves,
    /// It has ended, and has printed why.
    Failed,
    /// It has neither started to serve nor ended within [`PATIENCE`].
    Starts,
}

/// The connection to the process that waits for the daemon. Dropping it reports that the daemon has
/// failed, and has printed why.
pub(super) struct Starter(PipeWriter);

/// Splits into two processes: a daemon in a session of its own, without a terminal, and the
/// starter, which continues when the daemon serves, has ended, or takes too long. Until then the
/// daemon keeps the starter's standard streams, so that it can print why it fails.
///
/// # Errors
///
/// If the process already has other threads, or the system refuses a pipe, a process or a session.
pub(super) fn detach() -> Result<Side> {
    let threads = fs::read_dir("/proc/self/task").context("cannot count this process's threads")?;
    ensure!(threads.count() == 1, "too late to go into the background");
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    // SAFETY: after a fork, a child must not wait for anything that other threads of its parent
    // held, such as the allocator's lock. There is no other thread: they were counted, and only
    // this one could start more.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Parent { .. } => {
            drop(writer);
            Ok(Side::Starter(outcome(reader)))
        }
        ForkResult::Child => {
            setsid().context("cannot begin a session")?;
            chdir("/").context("cannot leave the working directory")?;
            umask(Mode::from_bits_truncate(0o022));
            Ok(Side::Daemon(Starter(writer)))
        }
    }
}

fn outcome(mut reader: PipeReader) -> Outcome {
    let (tell, told) = channel();
    let _ = thread::Builder::new().spawn(move || {
        // A daemon that ends closes the pipe without writing.
        tell.send(reader.read_exact(&mut [0]).is_ok())
    });
    match told.recv_timeout(PATIENCE) {
        Ok(true) => Outcome::Serves,
        Ok(false) | Err(RecvTimeoutError::Disconnected) => Outcome::Failed,
        Err(RecvTimeoutError::Timeout) => Outcome::Starts,
    }
}

impl Starter {
    /// Releases the starter and its standard streams.
    ///
    /// # Errors
    ///
    /// If `/dev/null` cannot be opened.
    pub(super) fn release(mut self) -> Result<()> {
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .context("cannot open /dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        // The starter may have been killed.
        let _ = self.0.write_all(b"1");
        Ok(())
    }
}
