//! Into the background.

use std::fs::{self, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

/// How long the daemon is waited for. Its own waits are shorter: who waits so long waits for a disk.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Which of the two processes goes on.
pub(super) enum Side {
    /// The one that was started, which is to end.
    Starter(Outcome),
    /// The daemon.
    Daemon(Starter),
}

/// What has become of the daemon.
pub(super) enum Outcome {
    /// It serves.
    Serves,
    /// It has ended, and told why.
    Failed,
    /// It does neither after [`PATIENCE`].
    Starts,
}

/// The process that waits for the daemon. Dropping it says that the daemon has failed, and has told
/// why.
pub(super) struct Starter(PipeWriter);

/// Becomes two processes: a daemon in a session of its own, without a terminal, and the starter,
/// which goes on when the daemon serves or has ended, or takes too long. Until then the daemon has the starter's
/// standard streams, to tell there why it fails.
///
/// # Errors
///
/// The process has threads already; the system has no room for another process.
pub(super) fn detach() -> Result<Side> {
    let threads = fs::read_dir("/proc/self/task").context("cannot count this process's threads")?;
    ensure!(threads.count() == 1, "too late to go into the background");
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    // SAFETY: what a child may not do after a fork is to wait for what other threads of its parent
    // have held, such as the allocator's lock. There is no other thread: they were counted, and
    // only this one could start more.
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
        // A daemon that ends closes the pipe unwritten.
        tell.send(reader.read_exact(&mut [0]).is_ok())
    });
    match told.recv_timeout(PATIENCE) {
        Ok(true) => Outcome::Serves,
        Ok(false) | Err(RecvTimeoutError::Disconnected) => Outcome::Failed,
        Err(RecvTimeoutError::Timeout) => Outcome::Starts,
    }
}

impl Starter {
    /// Lets the starter go, and its standard streams.
    ///
    /// # Errors
    ///
    /// There is no `/dev/null`.
    pub(super) fn release(mut self) -> Result<()> {
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .context("cannot open /dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        // It may have been killed.
        let _ = self.0.write_all(b"1");
        Ok(())
    }
}
