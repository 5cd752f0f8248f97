//! Pipes and disks that hang do not hang the daemon.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, binary, debian};
use rustix::fs::OFlags;
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(10);

/// A pipe that is full, and that nobody reads until it is asked to: a stopped `tee`.
struct Unread {
    pipe: File,
    filled: usize,
}

impl Unread {
    fn new(files: &Files) -> Result<Self> {
        let path = files.path("stderr");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let pipe = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)?;
        let mut unread = Self { pipe, filled: 0 };
        unread.fill()?;
        Ok(unread)
    }

    fn fill(&mut self) -> Result<()> {
        self.filled = 0;
        loop {
            match self.pipe.write(b"\n") {
                Ok(written) => self.filled += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A command whose stderr is this.
    fn command(files: &Files, args: &[String]) -> Result<Command> {
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 2> \"$0\""])
            .arg(files.path("stderr"))
            .arg(binary()?)
            .args(args);
        Ok(command)
    }

    /// Reads until there is this text.
    fn read_until(&mut self, text: &str) -> Result<String> {
        let mut seen = Vec::new();
        let asked = Instant::now();
        loop {
            let mut part = [0; 4096];
            match self.pipe.read(&mut part) {
                Ok(read) => seen.extend_from_slice(part.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error.into()),
            }
            let told = String::from_utf8_lossy(seen.get(self.filled..).unwrap_or_default());
            if told.contains(text) {
                return Ok(told.into_owned());
            }
            ensure!(asked.elapsed() < PATIENCE, "{text:?} never comes: {told}");
        }
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let mut stderr = Unread::new(&files)?;
    let args = serve_args(Datapath::Raw, &files, &[]);
    let daemon = Daemon::start_command(&lab.server, Unread::command(&files, &args)?)?;
    let mut site = Site::of(lab, daemon, files)?;
    for number in 0..5 {
        let winpe = format!("winboot/{number}/");
        site.files.write_config(&[("a", &winpe)])?;
        let reload = site.command(&["reload"])?;
        ensure!(reload.code == Some(0), "{reload:?}");
        assert_eq!(site.status()?["generation"], number + 2);
        site.ask_uefi(NODE_A, &winpe)?;
    }
    // Read late, the log is complete.
    let told = stderr.read_until("generation=6")?;
    assert_eq!(told.matches("reloaded in ").count(), 5, "{told}");

    stderr.fill()?;
    site.daemon.signal(Signal::HUP)?;
    let (status, took) = site.daemon.stop()?;
    println!("ended {took:?} after it was asked to");
    assert_eq!(status.code(), Some(0));
    assert!(!site.files.path("control.sock").exists());
    Ok(())
}

#[test]
fn a_start_that_fails_ends_though_nobody_reads_why() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let mut stderr = Unread::new(&files)?;
    let args = serve_args(Datapath::Raw, &files, &[]);
    std::fs::write(files.path("control.sock"), "")?;
    let mut ended = lab.server.spawn(Unread::command(&files, &args)?)?;
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = ended.try_wait()? {
            break status;
        }
        if asked.elapsed() > PATIENCE {
            ended.kill()?;
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(1), "{status}");
    // The pipe had nothing of it when the daemon had ended.
    ensure!(stderr.read_until("exists and is not a socket").is_err());
    Ok(())
}

/// Holds up each system call on a path that asks what is there, for longer than the test takes: a
/// file on a server that is gone.
struct Hung(Child);

impl Hung {
    fn begin(pid: u32, path: &std::path::Path) -> Result<Self> {
        debian::ensure_installed("strace", "strace")?;
        let mut strace = Command::new("strace")
            .args(["-f", "-e", "trace=statx,newfstatat,readlink"])
            .args(["-e", "inject=statx,newfstatat,readlink:delay_enter=60s"])
            .arg("-P")
            .arg(path)
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stderr = strace.stderr.take().context("no stderr")?;
        let hung = Self(strace);
        let mut told = Vec::new();
        while !String::from_utf8_lossy(&told).contains("attached") {
            let mut part = [0; 256];
            let read = stderr.read(&mut part)?;
            ensure!(read > 0, "strace: {}", String::from_utf8_lossy(&told));
            told.extend_from_slice(part.get(..read).unwrap_or_default());
        }
        thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Ok(hung)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_watched_file_on_a_disk_that_hangs_holds_up_nothing_else() -> Result<()> {
    let mut site = Site::with(Datapath::Raw, &["--watch"])?;
    let hung = Hung::begin(site.daemon.pid(), &site.files.path("proxydhcp.cfg"))?;
    site.files.write_config(&[("a", "winboot/new")])?;
    // By now it is looked at.
    thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    assert_eq!(site.status()?["generation"], 1);
    site.ask_uefi(NODE_A, "winboot/a/")?;
    site.daemon.check_accounts()?;
    site.daemon.signal(Signal::TERM)?;
    while site.files.path("control.sock").exists() {
        ensure!(asked.elapsed() < PATIENCE, "{}", site.daemon.log());
        thread::sleep(Duration::from_millis(5));
    }
    println!("status and stop took {:?}", asked.elapsed());
    // The process is one of strace's until that lets go.
    drop(hung);
    assert_eq!(site.daemon.wait(PATIENCE)?.code(), Some(0));
    Ok(())
}
