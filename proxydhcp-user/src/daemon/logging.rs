//! Writes the log. A thread that logs never waits for the reader: with a stopped terminal, a full
//! pipe or a hanging syslog, only log lines are lost.

use std::collections::VecDeque;
use std::env;
use std::fs::File;
use std::io::{self, Write, stderr};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::sys::journal::Priority;
use crate::sys::privileges;
use crate::text::visible;

mod format;

pub use format::LineFormat;
pub(crate) use format::to_stderr;

/// The number of bytes that may wait to be written; further lines are lost.
const LIMIT: usize = 16 << 20;

/// How long the daemon waits at its end for the last lines to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// A log that is being written. Dropping it waits a moment for the last lines.
#[must_use]
pub struct Log(Vec<Outlet>);

impl Log {
    pub(crate) fn new(outlets: impl IntoIterator<Item = Outlet>) -> Self {
        Self(outlets.into_iter().collect())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        for outlet in &self.0 {
            outlet.finish();
        }
    }
}

/// Starts logging to stderr, filtered by `RUST_LOG`. Call it after privileges are dropped, because
/// it starts a thread.
///
/// # Errors
///
/// If stderr cannot be duplicated or the thread cannot be started.
pub fn start(format: LineFormat) -> Result<Log> {
    let outlet = Outlet::stderr(format)?;
    tracing_subscriber::registry()
        .with(to_stderr(&outlet, format).with_filter(filter()))
        .init();
    Ok(Log::new([outlet]))
}

/// What is logged unless `RUST_LOG` says otherwise. Libraries say little: aya alone has a line for
/// each relocation of the XDP program.
const DEFAULT: &str = "info,aya=warn,aya_obj=warn,netlink_proto=warn,netlink_packet_core=warn,\
                       netlink_packet_route=warn,rtnetlink=warn,mio=warn,tokio=warn";

/// The filter of the log, from `RUST_LOG`.
pub(crate) fn filter() -> EnvFilter {
    filter_of(&env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default())
}

fn filter_of(asked: &str) -> EnvFilter {
    // Of two directives for the same target, the later one counts.
    EnvFilter::builder().parse_lossy(format!("{DEFAULT},{asked}"))
}

/// Writes a daemon's last line to stderr, if possible: the error that it ends of.
pub fn last_words(format: LineFormat, line: &str) {
    if let Ok(mut outlet) = Outlet::stderr(format) {
        let _ = outlet.write_all(format.line(Priority::Error, line).as_bytes());
        outlet.finish();
    }
}

/// Takes whole lines, which a thread of its own writes.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// How the line looks that says how many are lost.
    format: LineFormat,
    state: Mutex<State>,
    /// Signals that there are lines to write.
    given: Condvar,
    /// Signals that lines were written.
    written: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// The total length of the waiting lines, in bytes.
    size: usize,
    /// The number of lines lost and not yet reported.
    lost: u64,
    is_writing: bool,
}

impl State {
    fn is_at_rest(&self) -> bool {
        self.lines.is_empty() && self.lost == 0
    }

    /// Takes what to write next.
    fn take(&mut self, format: LineFormat) -> Vec<u8> {
        if let Some(line) = self.lines.pop_front() {
            self.size = self.size.saturating_sub(line.len());
            return line;
        }
        let lost = std::mem::take(&mut self.lost);
        format.lost(lost).into_bytes()
    }
}

impl Outlet {
    /// Starts a thread of this name that writes each line to the sink in one call. The thread has
    /// no privileges; the sink is open already.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(crate) fn new(
        name: &str,
        format: LineFormat,
        sink: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let outlet = Self(Arc::new(Shared {
            format,
            ..Shared::default()
        }));
        let shared = Arc::clone(&outlet.0);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                privileges::give_up();
                shared.write_to(sink);
            })?;
        Ok(outlet)
    }

    /// An outlet to what stderr is now. It does not use the standard library's handle, whose lock
    /// other threads may need.
    pub(crate) fn stderr(format: LineFormat) -> Result<Self> {
        let file = stderr().as_fd().try_clone_to_owned().map(File::from);
        file.and_then(|file| Self::new("log", format, file))
            .context("cannot begin to write the log to stderr")
    }

    /// Waits until everything is written, but not for long.
    fn finish(&self) {
        let shared = &self.0;
        let _ = shared
            .written
            .wait_timeout_while(shared.lock(), PATIENCE, |state| {
                state.is_writing || !state.is_at_rest()
            });
    }
}

impl Write for Outlet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.size + line.len() > LIMIT {
            state.lost += 1;
        } else {
            state.size += line.len();
            state.lines.push_back(line.to_owned());
        }
        self.0.given.notify_one();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut sink: impl Write) {
        let mut state = self.lock();
        loop {
            state = self
                .given
                .wait_while(state, |state| state.is_at_rest())
                .unwrap_or_else(PoisonError::into_inner);
            let line = state.take(self.format);
            state.is_writing = true;
            drop(state);
            // A line that cannot be written has nowhere else to go.
            let _ = match str::from_utf8(&line) {
                Ok(text) => sink.write_all(visible(text).as_bytes()),
                Err(_) => sink.write_all(&line),
            };
            state = self.lock();
            state.is_writing = false;
            self.written.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use super::*;

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        use tracing::subscriber::with_default;
        use tracing::{Level, enabled};
        let enabled = |asked: &str| {
            let subscriber = tracing_subscriber::registry().with(filter_of(asked));
            with_default(subscriber, || {
                [
                    enabled!(target: "proxydhcp::daemon", Level::INFO),
                    enabled!(target: "proxydhcp::daemon", Level::DEBUG),
                    enabled!(target: "aya_obj::relocation", Level::DEBUG),
                ]
            })
        };
        assert_eq!(enabled(""), [true, false, false]);
        assert_eq!(enabled("debug"), [true, true, false]);
        assert_eq!(enabled("proxydhcp=debug"), [true, true, false]);
        assert_eq!(enabled("debug,aya_obj=debug"), [true, true, true]);
        assert_eq!(enabled("error"), [false, false, false]);
    }

    fn text(reader: &mut impl Read, length: usize) -> String {
        let mut text = vec![0; length];
        reader.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn lines_that_are_read_are_all_there_in_their_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let reading = thread::spawn(move || text(&mut reader, 10_000 * 6));
        let mut outlet = Outlet::new("log", LineFormat::Text, writer).unwrap();
        for number in 0..10_000 {
            outlet
                .write_all(format!("{number:05}\n").as_bytes())
                .unwrap();
        }
        outlet.finish();
        assert!(outlet.0.lock().is_at_rest());
        let lines: Vec<_> = (0..10_000).map(|number| format!("{number:05}\n")).collect();
        assert_eq!(reading.join().unwrap(), lines.concat());
    }

    #[test]
    fn a_sink_that_takes_nothing_holds_up_nobody_and_is_told_what_it_has_lost() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut outlet = Outlet::new("log", LineFormat::Text, writer).unwrap();
        let line = vec![b'x'; 1 << 16];
        // One line is in the pipe or on its way there, and the others wait.
        let fit = LIMIT / line.len() + 1;
        outlet.write_all(&line).unwrap();
        outlet.write_all(&line).unwrap();
        let is_stuck = |state: MutexGuard<'_, State>| state.is_writing && state.lines.is_empty();
        while !is_stuck(outlet.0.lock()) {
            thread::yield_now();
        }
        for _ in 0..fit + 6 {
            outlet.write_all(&line).unwrap();
        }
        let began = Instant::now();
        drop(Log::new([outlet.clone()]));
        assert!(began.elapsed() >= PATIENCE, "the last lines are waited for");

        text(&mut reader, (fit + 1) * line.len());
        let told = "log lines lost, because nobody read them in time: 7\n";
        assert_eq!(text(&mut reader, told.len()), told);
        outlet.write_all(b"more\n").unwrap();
        assert_eq!(text(&mut reader, 5), "more\n");
    }
}
