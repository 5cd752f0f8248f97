//! Messages to the service manager: of the start, of reloads, and signs of life for as long as the
//! daemon lives.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::flood::Flood;
use proxydhcp_lab::packet::BATCH;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, RequestFrame, Tap, binary};

/// The time that `WatchdogSec=` would set.
const LIMIT: Duration = Duration::from_millis(200);

/// Long enough for many signs of life.
const A_WHILE: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_secs(20);

/// How many signs of life there are at least in a flood, how many requests it consists of at least,
/// and how many of them are answered at least.
const SIGNS: u32 = 10;
const LEAST_SENT: u64 = 50_000;
const LEAST_ANSWERED: u64 = 5_000;

pub(crate) const ALIVE: &str = "WATCHDOG=1";

/// The manager's end of the socket, which reads every message at once, as systemd does.
pub(crate) struct Manager(Receiver<String>);

impl Manager {
    pub(crate) fn listen(files: &Files) -> Result<Self> {
        let socket = UnixDatagram::bind(files.path("notify"))?;
        let (heard, messages) = channel();
        thread::spawn(move || {
            let mut message = [0; 4096];
            while let Ok(length) = socket.recv(&mut message) {
                let text =
                    String::from_utf8_lossy(message.get(..length).unwrap_or_default()).into_owned();
                if heard.send(text).is_err() {
                    return;
                }
            }
        });
        Ok(Self(messages))
    }

    /// Waits for a message with this line, and returns all of it.
    fn hears(&self, line: &str) -> Result<String> {
        self.hears_within(PATIENCE, line)
    }

    /// Waits for a message with this line, at most for `limit`, and returns all of it.
    pub(crate) fn hears_within(&self, limit: Duration, line: &str) -> Result<String> {
        let started = Instant::now();
        while let Some(left) = limit.checked_sub(started.elapsed()) {
            let message = self.0.recv_timeout(left).context("nothing comes")?;
            if message.lines().any(|one| one == line) {
                return Ok(message);
            }
        }
        bail!("{line} never comes");
    }

    /// Takes what has come so far.
    fn forget(&self) {
        while self.0.try_recv().is_ok() {}
    }

    /// Nothing comes for a while.
    fn hears_nothing(&self) -> Result<()> {
        match self.0.recv_timeout(A_WHILE) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            heard => bail!("{heard:?}"),
        }
    }
}

fn start(datapath: Datapath, watchdog: bool) -> Result<(Site, Manager)> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let manager = Manager::listen(&files)?;
    let mut command = Command::new(binary()?);
    command
        .args(serve_args(datapath, &files, &[]))
        .env("NOTIFY_SOCKET", files.path("notify"));
    if watchdog {
        command.env("WATCHDOG_USEC", LIMIT.as_micros().to_string());
    }
    let daemon = Daemon::start_command(&lab.server, command)?;
    Ok((Site::of(lab, daemon, files)?, manager))
}

/// A thread of another process that is stopped, alone among all of its process.
struct Stopped(Pid);

impl Stopped {
    fn stop(pid: u32, name: &str) -> Result<Self> {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?.path();
            if fs::read_to_string(thread.join("comm"))?.trim_end() != name {
                continue;
            }
            let number = thread.file_name().and_then(|name| name.to_str());
            let thread = Pid::from_raw(number.context("no number")?.parse()?);
            ptrace::seize(thread, Options::empty())?;
            ptrace::interrupt(thread)?;
            waitpid(thread, Some(WaitPidFlag::__WALL))?;
            return Ok(Self(thread));
        }
        bail!("there is no thread {name}");
    }

    fn go_on(self) -> Result<()> {
        Ok(ptrace::detach(self.0, None)?)
    }
}

#[test]
fn a_thread_that_is_stuck_ends_the_signs_of_life() -> Result<()> {
    // The thread that bears the process's name waits for everything but packets.
    for (datapath, thread) in [
        (Datapath::Raw, "proxydhcp"),
        (Datapath::Native, "raw-px0"),
        (Datapath::AfXdp, "xdp-px0-0"),
        (Datapath::AfXdp, "raw-px0"),
        (Datapath::Raw, "raw-px0"),
    ] {
        let (mut site, manager) = start(datapath, true)?;
        for _ in 0..5 {
            manager.hears(ALIVE)?;
        }
        let stopped = Stopped::stop(site.daemon.pid(), thread)?;
        let told = match thread {
            "proxydhcp" => "no sign of life from the control threads:".to_owned(),
            thread => format!("no sign of life from {thread}:"),
        };
        site.daemon.wait_for(&told, PATIENCE)?;
        manager.forget();
        manager.hears_nothing()?;
        // Once it goes on, so does all else.
        stopped.go_on()?;
        for _ in 0..5 {
            manager.hears(ALIVE)?;
        }
        site.ask_uefi(NODE_A, "winboot/a/")?;
    }
    Ok(())
}

#[test]
fn a_daemon_that_serves_a_flood_lives() -> Result<()> {
    for datapath in [Datapath::AfXdp, Datapath::Raw] {
        let (mut site, manager) = start(datapath, true)?;
        // A tap on the wire would fill its socket.
        site.tap = Tap::open(&site.lab.client, "lo")?;
        let request = RequestFrame::edk2(NODE_A, UEFI_X64).bytes();
        let flood = Flood::new(&site.lab.client, vec![request; BATCH], 1)?;
        flood.during(|| {
            let mut signs = 0;
            while signs < SIGNS || flood.sent() < LEAST_SENT {
                manager.hears(ALIVE)?;
                signs += 1;
            }
            Ok(())
        })?;
        let answered = site.counters()?["answered"].as_u64();
        println!(
            "{datapath:?}: {answered:?} requests answered of {}",
            flood.sent()
        );
        assert!(answered >= Some(LEAST_ANSWERED), "{}", site.describe());
        site.tap = site.lab.tap()?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
    }
    Ok(())
}

#[test]
fn the_manager_is_told_what_is_served_and_of_reloads() -> Result<()> {
    let (mut site, manager) = start(Datapath::Raw, false)?;
    manager.hears("READY=1")?;
    manager.hears("STATUS=3 nodes, generation 1; px0 (raw)")?;
    site.files.write_config(&[("a", "winboot/new")])?;
    ensure!(site.command(&["reload"])?.code == Some(0));
    let reloaded = manager.hears("STATUS=1 node, generation 2; px0 (raw)")?;
    assert!(reloaded.starts_with("READY=1\n"), "{reloaded}");
    // It was not asked for signs of life.
    manager.hears_nothing()?;
    site.daemon.stop()?;
    manager.hears("STOPPING=1")?;
    Ok(())
}
