//! A long piece of work: on a terminal it shows how far it is, and it ends early if somebody wants that.
//!
//! Signals that would end the process are taken notice of instead, so that what is half made can be
//! removed. The programs that it starts get them as usual.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};

/// The bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// A piece of work. It belongs to the thread that has begun it.
#[derive(Debug)]
pub(crate) struct Work {
    bar: ProgressBar,
    signals: SignalFd,
    is_interrupted: Cell<bool>,
}

/// Somebody has ended the work.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; nothing was changed")]
pub(crate) struct Interrupted;

impl Work {
    /// Begins it: from now on, SIGINT, SIGTERM and SIGHUP end it and not the process.
    ///
    /// # Errors
    /// If there are too many open files.
    pub(crate) fn begin() -> io::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
            .into_iter()
            .collect();
        signals.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            signals: SignalFd::with_flags(&signals, flags)?,
            bar: ProgressBar::no_length(),
            is_interrupted: Cell::new(false),
        })
    }

    /// Begins a step of this many bytes, if that is known.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub(crate) fn step(&self, what: &str, bytes: Option<u64>) -> Result<(), Interrupted> {
        let template = if let Some(bytes) = bytes {
            self.bar.disable_steady_tick();
            self.bar.set_length(bytes);
            "{msg:28} {wide_bar} {bytes:>11} of {total_bytes:11}"
        } else {
            self.bar.enable_steady_tick(Duration::from_millis(100));
            "{msg:28} {spinner}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_position(0);
        self.bar.set_message(what.to_owned());
        self.go_on()
    }

    /// Whether it may go on.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub(crate) fn go_on(&self) -> Result<(), Interrupted> {
        if matches!(self.signals.read_signal(), Ok(Some(_))) {
            self.is_interrupted.set(true);
        }
        if self.is_interrupted.get() {
            return Err(Interrupted);
        }
        Ok(())
    }

    /// Copies all that there is to read, at most this many bytes, and returns their number.
    ///
    /// # Errors
    /// [`Interrupted`]; there is more to read; or what reading and writing end with.
    pub(crate) fn copy(
        &self,
        from: &mut (impl Read + AsFd),
        to: &mut impl Write,
        most: u64,
    ) -> Result<u64> {
        let mut piece = vec![0; PIECE];
        let mut copied: u64 = 0;
        loop {
            self.wait_for(&*from)?;
            self.go_on()?;
            let read = match from.read(&mut piece) {
                Ok(0) => return Ok(copied),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            copied = copied.saturating_add(read as u64);
            if copied > most {
                bail!("it has more than the {most} bytes that it says");
            }
            to.write_all(piece.get(..read).unwrap_or_default())
                .context("cannot write")?;
            self.bar.set_position(copied);
        }
    }
}

impl Work {
    /// Waits until there is something to read, or the work is to end.
    fn wait_for(&self, from: &impl AsFd) -> io::Result<()> {
        let mut polled = [
            PollFd::new(from, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
