//! The terminal, which is given back as it was, however this program ends.

use std::io;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ratatui::{DefaultTerminal, Frame};

/// How the view ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// By a key.
    Quit,
    /// By the signal with this number.
    Signal(u8),
}

/// The terminal, with a screen of its own for as long as this is held.
pub(super) struct Terminal(DefaultTerminal);

impl Terminal {
    /// Takes the terminal. A panic gives it back before its message is printed.
    pub(super) fn take() -> Result<Self> {
        let terminal = ratatui::try_init().context("cannot use the terminal")?;
        Ok(Self(terminal))
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(drop)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may be gone.
        let _ = ratatui::try_restore();
    }
}

/// The signals that end a program, which are waited for instead: the terminal is given back first.
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Keeps the signals from ending this process from now on. To be called before other threads start.
    pub(super) fn block() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
            set.add(signal);
        }
        set.thread_block().context("cannot wait for signals")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&set, flags);
        Ok(Self(signals.context("cannot wait for signals")?))
    }

    /// The number of a signal that has arrived.
    pub(super) fn arrived(&self) -> Result<Option<u8>> {
        let signal = self.0.read_signal()?;
        Ok(signal.and_then(|signal| signal.ssi_signo.try_into().ok()))
    }
}
