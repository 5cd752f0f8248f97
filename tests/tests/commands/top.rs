//! `proxydhcp top`, on a terminal.

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
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use proxydhcp_lab::binary;
use proxydhcp_lab::site::{Datapath, NODE_A, STRANGER, Site};

/// The size of the terminal.
const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(100).unwrap();
const PATIENCE: Duration = Duration::from_secs(30);
/// What switches to a screen of its own, and back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// The program on a terminal of its own.
struct Top {
    process: Child,
    terminal: Option<File>,
    /// The program's end, kept open: its state can be looked at after the program has ended.
    line: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    written: Arc<Mutex<String>>,
}

impl Top {
    fn start(site: &Site) -> Result<Self> {
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

    fn screen(&self) -> String {
        held(&self.screen).screen().contents()
    }

    fn shows(&self, text: &str) -> Result<()> {
        let started = Instant::now();
        while !self.screen().contains(text) {
            ensure!(started.elapsed() < PATIENCE, "{text}:\n{}", self.screen());
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn press(&mut self, key: &str) -> Result<()> {
        let terminal = self.terminal.as_mut().context("it is gone")?;
        Ok(terminal.write_all(key.as_bytes())?)
    }

    /// Waits for the end, and returns the exit code.
    fn end(&mut self) -> Result<Option<i32>> {
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
    fn is_restored(&self) -> Result<()> {
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

#[test]
fn top_shows_nodes_as_they_boot_and_gives_the_terminal_back() -> Result<()> {
    let mut site = Site::usual(Datapath::Generic)?;
    let mut top = Top::start(&site)?;
    top.shows("3 nodes")?;
    top.shows(". silent 3")?;
    top.shows("px0 (kernel): 0 answers")?;
    top.shows("silent: 3")?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    site.stays_silent_to(STRANGER)?;
    top.shows("o answered 1")?;
    top.shows(". silent 2")?;
    top.shows("px0 (kernel): 1 answers")?;
    top.shows("refused: 1 unknown-client")?;
    top.press("q")?;
    assert_eq!(top.end()?, Some(0));
    top.is_restored()
}

#[test]
fn signals_and_control_c_give_the_terminal_back() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 130),
        (Signal::SIGHUP, 129),
    ] {
        let mut top = Top::start(&site)?;
        top.shows("3 nodes")?;
        kill(Pid::from_raw(top.process.id().try_into()?), signal)?;
        assert_eq!(top.end()?, Some(code), "{signal}");
        top.is_restored()?;
    }
    let mut top = Top::start(&site)?;
    top.shows("3 nodes")?;
    top.press("\x03")?;
    assert_eq!(top.end()?, Some(0));
    top.is_restored()
}

#[test]
fn a_daemon_that_ends_is_missed_and_one_that_comes_is_shown() -> Result<()> {
    let mut site = Site::usual(Datapath::Raw)?;
    let mut top = Top::start(&site)?;
    top.shows("3 nodes")?;
    site.daemon.stop()?;
    top.shows("no daemon listens on")?;
    site.files.write_config(&[("a", "winboot/a/")])?;
    let args = proxydhcp_lab::site::serve_args(Datapath::Raw, &site.files, &[]);
    site.daemon = proxydhcp_lab::Daemon::start(&site.lab.server, &binary()?, &args)?;
    top.shows("1 node ")?;
    top.press("q")?;
    assert_eq!(top.end()?, Some(0));
    Ok(())
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_so() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    let piped = site.command(&["top"])?;
    assert_eq!(piped.code, Some(1));
    ensure!(piped.stderr.contains("top needs a terminal"), "{piped:?}");
    let mut command = Command::new("script");
    let line = format!("{} top --control /nonexistent", binary()?.display());
    command.args(["-qec", &line, "/dev/null"]);
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        !output.status.success() && text.contains("no daemon listens on /nonexistent"),
        "{text}"
    );
    ensure!(!text.contains(ENTER), "{text}");
    Ok(())
}
