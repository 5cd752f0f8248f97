//! `proxydhcp top` on a terminal of its own.
#![allow(clippy::missing_errors_doc, reason = "a test fails by what they say")]

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::binary;
use crate::site::Site;

/// The size of the terminal.
const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(100).unwrap();
const PATIENCE: Duration = Duration::from_secs(30);
/// What switches to a screen of its own.
pub const ENTER: &str = "\x1b[?1049h";
/// What switches back.
const LEAVE: &str = "\x1b[?1049l";

/// The program on a terminal of its own. Dropping it ends it.
#[expect(missing_debug_implementations, reason = "nobody prints it")]
pub struct Top {
    process: Child,
    terminal: Option<File>,
    /// The program's end, kept open: its state can be looked at after the program has ended.
    line: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    written: Arc<Mutex<String>>,
}

impl Top {
    /// Starts it, on a site's daemon.
    pub fn start(site: &Site) -> Result<Self> {
        let size = Winsize {
            ws_row: ROWS.get(),
            ws_col: COLUMNS.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(Some(&size), None)?;
        let socket = site.files.path("control.sock");
        // It is the leader of a session whose terminal this is, so that a hangup reaches it.
        let mut command = Command::new("setsid");
        command
            .args(["--ctty"])
            .arg(binary()?)
            .args(["top", "--control"])
            .arg(socket);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let end = || -> Result<OwnedFd> { Ok(slave.as_fd().try_clone_to_owned()?) };
        command.stdin(end()?).stdout(end()?).stderr(end()?);
        let process = site.lab.server.spawn(command)?;
        let terminal = File::from(master);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
        let written = Arc::new(Mutex::new(String::new()));
        let mut reader = terminal.try_clone()?;
        let (shown, all) = (Arc::clone(&screen), Arc::clone(&written));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                let bytes = bytes.get(..length).unwrap_or_default();
                held(&shown).process(bytes);
                *held(&all) += &String::from_utf8_lossy(bytes);
            }
        });
        Ok(Self {
            process,
            terminal: Some(terminal),
            line: slave,
            screen,
            written,
        })
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        held(&self.screen).screen().contents()
    }

    /// Waits until this text is on the screen.
    pub fn shows(&self, text: &str) -> Result<()> {
        let started = Instant::now();
        while !self.screen().contains(text) {
            ensure!(started.elapsed() < PATIENCE, "{text}:\n{}", self.screen());
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Types a key.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let terminal = self.terminal.as_mut().context("it is gone")?;
        Ok(terminal.write_all(key.as_bytes())?)
    }

    /// Waits for the end, and returns the exit code.
    pub fn end(&mut self) -> Result<Option<i32>> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status.code());
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "it goes on:\n{}",
                self.screen()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The terminal is as it was: its lines are edited and echoed, on the ordinary screen.
    pub fn is_restored(&self) -> Result<()> {
        let flags = tcgetattr(&self.line)?.local_flags;
        ensure!(
            flags.contains(LocalFlags::ICANON | LocalFlags::ECHO),
            "{flags:?}"
        );
        let started = Instant::now();
        loop {
            let written = held(&self.written).clone();
            let left = written.rfind(LEAVE);
            if left.is_some() && left > written.rfind(ENTER) && written.ends_with("\x1b[?25h") {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "{written:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn held<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
