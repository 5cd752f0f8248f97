//! The daemon under test as a process in a namespace.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{Namespace, accounts};

/// How long a daemon may take to say that it is ready: loading and verifying an XDP program on a
/// busy machine takes a second or two, and half a minute on an emulated one.
const START_PATIENCE: Duration = Duration::from_mins(2);
/// How long a daemon may take to end once it is asked to.
const STOP_PATIENCE: Duration = Duration::from_mins(1);
/// How long it may take when nobody looks at how it ends.
const DROP_PATIENCE: Duration = Duration::from_secs(3);
/// How long after its end the rest of its output may take, or its end after that of its output.
const LOG_PATIENCE: Duration = Duration::from_millis(500);
/// Standard output and standard error.
const STREAMS: usize = 2;

/// The binary under test: what `PROXYDHCP_BIN` names.
///
/// # Errors
/// When the variable is not set.
pub fn binary() -> Result<PathBuf> {
    env::var_os("PROXYDHCP_BIN")
        .map(PathBuf::from)
        .context("PROXYDHCP_BIN does not name the binary under test; run `cargo xtask test`")
}

/// Copies a program to where a test may change it, or another user run it. By a process of its own:
/// a child that another test starts meanwhile would hold the copy open for writing, and the kernel
/// runs no program that somebody writes to.
///
/// # Errors
/// When it cannot be copied.
pub fn copy_program(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg(from).arg(to).status()?;
    ensure!(status.success(), "cannot copy {}", from.display());
    Ok(())
}

/// A running daemon. Dropping it asks it to stop, kills it if need be, and waits for its end.
///
/// A daemon that was given a control socket is held to account when it is asked to stop, or
/// dropped: see [`Daemon::check_accounts`]. One that has crashed, or was sent a signal, is not.
#[derive(Debug)]
pub struct Daemon {
    binary: PathBuf,
    child: Child,
    /// Unlike its number, this cannot come to mean another process.
    process: OwnedFd,
    log: Arc<Log>,
    ready_line: String,
    /// The control socket that its counters are read from.
    control: Option<PathBuf>,
    began_anew: bool,
}

impl Daemon {
    /// Starts `binary` with `args` in `namespace` and waits for the line that says `ready`.
    ///
    /// # Errors
    /// When it cannot be started, ends early, or never says that it is ready: with its log.
    pub fn start<S: AsRef<str>>(namespace: &Namespace, binary: &Path, args: &[S]) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(args.iter().map(AsRef::as_ref));
        Self::start_command(namespace, command)
    }

    /// As [`Daemon::start`], for a command with an environment or a name of its own.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_command(namespace: &Namespace, command: Command) -> Result<Self> {
        let mut daemon = Self::spawn(namespace, command)?;
        daemon.ready_line = daemon.wait_for("ready", START_PATIENCE)?;
        if let Some(control) = &daemon.control {
            daemon.began_anew = accounts::begins_anew(&daemon.binary, control);
        }
        Ok(daemon)
    }

    /// Starts another program, which has words of its own for being ready: [`Daemon::wait_for`]
    /// waits for them.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(namespace: &Namespace, mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Another program may start it.
        let binary = binary()
            .ok()
            .filter(|binary| command.get_args().any(|arg| arg == binary))
            .unwrap_or_else(|| PathBuf::from(command.get_program()));
        let serves = command.get_args().next().is_some_and(|arg| arg == "serve");
        let mut args = command.get_args().skip_while(|arg| *arg != "--control");
        let control = args.nth(1).map(PathBuf::from).filter(|_| serves);
        let mut child = namespace.spawn(command)?;
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        let log = Arc::new(Log::default());
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            follow(stdout, Arc::clone(&log));
            follow(stderr, Arc::clone(&log));
        }
        Ok(Self {
            binary,
            child,
            process,
            log,
            ready_line: String::new(),
            control,
            began_anew: false,
        })
    }

    /// The line that said that the daemon is ready.
    pub fn ready_line(&self) -> &str {
        &self.ready_line
    }

    /// The daemon's process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that the daemon has printed so far, on either stream.
    pub fn log(&self) -> String {
        self.log.lines().join("\n")
    }

    /// Waits for the first line, from the start of the log on, that contains `text`.
    ///
    /// # Errors
    /// When the daemon ends or `timeout` passes before: with its log.
    pub fn wait_for(&mut self, text: &str, timeout: Duration) -> Result<String> {
        if let Some(line) = self.log.wait_for(text, timeout) {
            return Ok(line);
        }
        let state = match self.wait(LOG_PATIENCE) {
            Ok(status) => format!("it ended with {status}"),
            Err(_) => format!("within {timeout:?}"),
        };
        bail!(
            "{} never said {text:?}: {state}; its log:\n{}",
            self.binary.display(),
            self.log()
        );
    }

    /// Sends the daemon a signal.
    ///
    /// # Errors
    /// When the daemon is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.process, signal)
            .with_context(|| format!("cannot send {signal:?} to the daemon"))
    }

    /// Waits for the daemon's end.
    ///
    /// # Errors
    /// When it does not end within `timeout`: with its log.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let limit = Timespec::try_from(timeout)?;
        if poll(
            &mut [PollFd::new(&self.process, PollFlags::IN)],
            Some(&limit),
        )? == 0
        {
            bail!(
                "the daemon did not end within {timeout:?}; its log:\n{}",
                self.log()
            );
        }
        let status = self.child.wait()?;
        self.log.wait_for_end(LOG_PATIENCE);
        Ok(status)
    }

    /// Holds the daemon to account: every packet to port 4011 has one outcome on each datapath.
    ///
    /// # Errors
    /// See [`accounts::check`].
    pub fn check_accounts(&self) -> Result<()> {
        match &self.control {
            Some(control) if !self.ready_line.is_empty() => {
                accounts::check(&self.binary, control, self.began_anew)
            }
            _ => Ok(()),
        }
    }

    /// Asks the daemon to stop (SIGTERM) and waits for its end; returns how it ended and how long
    /// that took.
    ///
    /// # Errors
    /// When it is gone already or does not end within ten seconds, or does not account for all
    /// packets.
    pub fn stop(&mut self) -> Result<(ExitStatus, Duration)> {
        self.check_accounts()?;
        let asked = Instant::now();
        self.signal(Signal::TERM)?;
        let status = self.wait(STOP_PATIENCE)?;
        Ok((status, asked.elapsed()))
    }

    /// Kills the daemon as a crash would (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn crash(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let status = self.wait(STOP_PATIENCE)?;
        if status.signal() != Some(Signal::KILL.as_raw()) {
            bail!("the daemon ended with {status} before it could be killed");
        }
        Ok(())
    }

    /// Runs the daemon's binary as a command (`reload`, `status`, ...) in `namespace`.
    ///
    /// # Errors
    /// When it cannot be run; how it ends is in the output.
    pub fn proxydhcp<S: AsRef<str>>(&self, namespace: &Namespace, args: &[S]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(args.iter().map(AsRef::as_ref));
        namespace.output(command)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let is_running = self.wait(Duration::ZERO).is_err();
        let accounts = if is_running && !thread::panicking() {
            self.check_accounts()
        } else {
            Ok(())
        };
        // A daemon that is asked takes away what it pinned in the kernel; one that does not listen
        // is killed.
        // Asking fails when it has ended already.
        let _ = self.signal(Signal::TERM);
        if self.wait(DROP_PATIENCE).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        assert!(accounts.is_ok(), "{accounts:?}; its log:\n{}", self.log());
    }
}

/// Lines as they come, from both streams.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<LogState>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    lines: Vec<String>,
    streams_ended: usize,
}

impl Log {
    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> Vec<String> {
        self.state().lines.clone()
    }

    fn change(&self, change: impl FnOnce(&mut LogState)) {
        change(&mut self.state());
        self.grown.notify_all();
    }

    fn wait_for_end(&self, timeout: Duration) {
        // A child of the daemon's may hold the streams open: then what there is must do.
        let _ = self
            .grown
            .wait_timeout_while(self.state(), timeout, |state| state.streams_ended < STREAMS);
    }

    fn wait_for(&self, text: &str, timeout: Duration) -> Option<String> {
        let find = |state: &LogState| state.lines.iter().find(|line| line.contains(text)).cloned();
        let (state, _) = self
            .grown
            .wait_timeout_while(self.state(), timeout, |state| {
                find(state).is_none() && state.streams_ended < STREAMS
            })
            .unwrap_or_else(PoisonError::into_inner);
        find(&state)
    }
}

fn follow(pipe: impl Read + Send + 'static, log: Arc<Log>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            log.change(|state| state.lines.push(line));
        }
        log.change(|state| state.streams_ended += 1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Daemon> {
        let namespace = Namespace::new()?;
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Daemon::start_command(&namespace, command)
    }

    #[test]
    fn a_ready_daemon_is_stopped_and_timed() {
        let mut daemon = shell("echo starting; echo ready: here >&2; exec sleep 60").unwrap();
        assert_eq!(daemon.ready_line(), "ready: here");
        daemon.wait_for("starting", Duration::from_secs(2)).unwrap();
        let (status, took) = daemon.stop().unwrap();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
        assert!(took < STOP_PATIENCE);
    }

    #[test]
    fn a_daemon_that_ends_early_is_told_with_its_log() {
        let error = shell("echo no such interface; exit 3")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("no such interface"),
            "{error}"
        );
    }

    #[test]
    fn a_dropped_daemon_is_gone() {
        let daemon = shell("echo ready; exec sleep 60").unwrap();
        let pid = daemon.pid();
        drop(daemon);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
