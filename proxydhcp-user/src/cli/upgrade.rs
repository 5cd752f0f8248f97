//! `proxydhcp upgrade`: the program that runs gives way to the one installed, without a gap.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use proxydhcp_common::PORT;

use crate::api::xcat::NAME;
use crate::cli::exit::Exit;
use crate::cli::output::{note, print};
use crate::cli::status::what_is_left;
use crate::daemon::port::is_daemon;
use crate::sys::port_holder::holders;

/// The unit whose daemon is swapped.
const UNIT: &str = "proxydhcp.service";
/// How long systemd may take to notice the end of the old daemon.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Arguments of `upgrade`.
#[derive(Clone, Debug, Args)]
pub struct UpgradeArgs {}

/// Swaps the daemon that runs for this version of the program.
///
/// # Errors
///
/// If this version would not start, in which case the old daemon stays, or systemd cannot be asked,
/// or the new daemon does not start.
pub(super) fn run(_: &UpgradeArgs) -> Result<ExitCode> {
    let unit = Unit::ask();
    if let Some(unit) = unit.as_ref().filter(|unit| unit.pid != 0) {
        if is_this_program(unit.pid) {
            print(&format!("process {} runs this version already", unit.pid));
            return Ok(Exit::Done.into());
        }
        return unit.swap();
    }
    let holders = holders(PORT);
    let daemon = holders.iter().find(|holder| is_daemon(holder));
    let Some(daemon) = daemon.and_then(|holder| holder.process.as_ref()) else {
        let left = what_is_left().map_or_else(String::new, |left| format!("; {left}"));
        print(&format!("no daemon runs{left}"));
        return Ok(Exit::Done.into());
    };
    let pid = daemon.pid;
    if is_this_program(pid) {
        print(&format!("process {pid} runs this version already"));
        return Ok(Exit::Done.into());
    }
    let remedy = if daemon.name == NAME {
        "xcatd has started it; systemctl restart xcatd swaps it".to_owned()
    } else {
        format!(
            "it is not that of {UNIT}; kill -KILL {pid} and start it again: the kernel answers meanwhile"
        )
    };
    note(&format!(
        "proxydhcp: process {pid} goes on serving with its old version: {remedy}"
    ));
    Ok(Exit::Partly.into())
}

/// Whether the process runs the file that this one runs, which is the one installed.
fn is_this_program(pid: u32) -> bool {
    let file = |path: &str| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    let other = file(&format!("/proc/{pid}/exe"));
    matches!((file("/proc/self/exe"), other), (Ok(own), Ok(other)) if own == other)
}

/// The unit as systemd knows it.
struct Unit {
    /// Its daemon; 0 if none runs.
    pid: u32,
    /// The arguments that its next daemon will get, without the program.
    arguments: Vec<String>,
}

impl Unit {
    /// None if systemd is not what runs this host.
    fn ask() -> Option<Self> {
        if !Path::new("/run/systemd/system").exists() {
            return None;
        }
        let show = ["show", "--property=MainPID", "--property=ExecStart", UNIT];
        let output = Command::new("systemctl").args(show).output().ok()?;
        Self::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Reads what `systemctl show` prints.
    fn parse(shown: &str) -> Option<Self> {
        let of = |key: &str| shown.lines().find_map(|line| line.strip_prefix(key));
        let (_, command) = of("ExecStart=").unwrap_or_default().split_once("argv[]=")?;
        let (command, _) = command.split_once(" ; ")?;
        let arguments = command.split_whitespace().skip(1).map(str::to_owned);
        Some(Self {
            pid: of("MainPID=")?.parse().ok()?,
            arguments: arguments.collect(),
        })
    }

    fn swap(&self) -> Result<ExitCode> {
        let stays = format!(
            "process {} goes on serving with its old version; `proxydhcp upgrade` tries again",
            self.pid
        );
        self.check().context(stays)?;
        // The kernel answers from here on, by the old tables, until the new daemon replaces them.
        systemctl(&["kill", "--kill-who=main", "--signal=KILL", UNIT])?;
        let started = Instant::now();
        while Self::ask().is_some_and(|unit| unit.pid == self.pid) {
            ensure!(
                started.elapsed() < PATIENCE,
                "systemd has not noticed the end of process {}; systemctl restart proxydhcp",
                self.pid
            );
            thread::sleep(PAUSE);
        }
        // Waits for the start that systemd has under way already, or is about to.
        systemctl(&["start", UNIT])
            .context("the kernel goes on answering, by the old tables, until a daemon starts; journalctl -u proxydhcp says why none has")?;
        let pid = Self::ask().map_or(0, |unit| unit.pid);
        print(&format!(
            "process {pid} has taken over from process {}",
            self.pid
        ));
        Ok(Exit::Done.into())
    }

    /// Has the new program check what its daemon will find.
    fn check(&self) -> Result<()> {
        let mut check = Command::new("/proc/self/exe");
        let output = check.args(&self.arguments).arg("--check").output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            note(&told);
            return Ok(());
        }
        let told = told.trim_end().trim_start_matches("proxydhcp: ");
        bail!("this version would not start: {told}")
    }
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let output = Command::new("systemctl").args(arguments).output();
    let output = output.context("cannot run systemctl")?;
    ensure!(
        output.status.success(),
        "systemctl {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_read_from_what_systemctl_shows() {
        let shown = "MainPID=712\nExecStart={ path=/usr/sbin/proxydhcp ; argv[]=/usr/sbin/proxydhcp \
                     serve -i eth1 ; ignore_errors=no ; start_time=[n/a] ; pid=0 ; status=0/0 }\n";
        let unit = Unit::parse(shown).unwrap();
        assert_eq!(
            (unit.pid, unit.arguments.join(" ")),
            (712, "serve -i eth1".to_owned())
        );
        // As where there is no such unit.
        assert!(Unit::parse("MainPID=0\n").is_none());
    }
}
