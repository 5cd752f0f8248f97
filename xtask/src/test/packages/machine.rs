//! A Debian that boots its own systemd, in a network namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_lab::Namespace;
use proxydhcp_lab::debian::ensure_installed;

use crate::command::run;
use crate::workspace::root;

/// Debian's releases, with their names.
pub(super) const RELEASES: [(&str, &str); 3] =
    [("11", "bullseye"), ("12", "bookworm"), ("13", "trixie")];
/// Nothing must hang.
const PATIENCE: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(50);
/// Where a machine sees the folder that it shares with this one.
pub(super) const SHARED: &str = "/mnt";

/// A machine that runs. Its disk is a layer in memory above that of the release.
pub(super) struct Machine {
    container: Child,
    init: u32,
}

impl Machine {
    /// Boots a release; `shared` is what it sees of this machine's files.
    pub(super) fn boot(release: &str, namespace: &Namespace, shared: &Path) -> Result<Self> {
        let root = of_release(release)?;
        ensure_installed("systemd-nspawn", "systemd-container")?;
        let mut nspawn = Command::new("systemd-nspawn");
        nspawn.args(["--quiet", "--boot", "--register=no", "--keep-unit"]);
        nspawn.args(["--volatile=overlay", "--console=pipe"]);
        nspawn.arg("--network-namespace-path=/proc/self/ns/net");
        // What a host has, and containers usually have not.
        nspawn.arg("--capability=CAP_BPF,CAP_NET_ADMIN,CAP_NET_RAW,CAP_PERFMON");
        nspawn.args(["--system-call-filter=bpf", "--bind=/sys/fs/bpf"]);
        nspawn.arg(format!("--bind={}:{SHARED}", shared.display()));
        nspawn.arg("--directory").arg(root);
        nspawn.env("SYSTEMD_NSPAWN_LOCK", "0");
        nspawn.stdin(Stdio::null()).stdout(Stdio::null());
        let container = namespace.spawn(nspawn)?;
        let mut machine = Self { container, init: 0 };
        machine.await_boot()?;
        Ok(machine)
    }

    fn await_boot(&mut self) -> Result<()> {
        let pid = self.container.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let started = Instant::now();
        loop {
            if let Some(status) = self.container.try_wait()? {
                bail!("systemd-nspawn ended: {status}");
            }
            let child = fs::read_to_string(&children).unwrap_or_default();
            self.init = child.trim().parse().unwrap_or(0);
            let state = || self.sh("systemctl is-system-running || true");
            let state = if self.init == 0 {
                Ok(String::new())
            } else {
                state()
            };
            if state.is_ok_and(|state| ["running", "degraded"].contains(&state.trim())) {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "the machine does not boot");
            thread::sleep(PAUSE);
        }
    }

    /// Runs a shell script there, which must succeed, and returns what it prints.
    pub(super) fn sh(&self, script: &str) -> Result<String> {
        let (code, text) = self.try_sh(script)?;
        ensure!(code == Some(0), "{script}: {code:?}: {text}");
        Ok(text)
    }

    /// Runs a shell script there; returns its exit code, and what it prints on either stream.
    pub(super) fn try_sh(&self, script: &str) -> Result<(Option<i32>, String)> {
        let mut shell = Command::new("nsenter");
        shell.args(["--all", "--target", &self.init.to_string()]);
        shell.args([
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        shell.args(["sh", "-ec", &format!("exec 2>&1; {script}")]);
        let output = shell.stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        Ok((output.status.code(), text + &error))
    }

    /// Waits until a script succeeds.
    pub(super) fn await_sh(&self, script: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let (code, text) = self.try_sh(script)?;
            if code == Some(0) {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "{script}: {code:?}: {text}");
            thread::sleep(PAUSE);
        }
    }

    /// All files on its disk, apart from what dpkg and the journal write about any package.
    pub(super) fn files(&self) -> Result<Vec<String>> {
        let listed = self.sh(
            "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp \
             -o -path /mnt -o -path /dev -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \
             -o -path /var/lib/systemd \\) -prune -o -print | sort",
        )?;
        Ok(listed.lines().map(str::to_owned).collect())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // All processes of the machine end with its first one, and systemd-nspawn then. The other way
        // round the machine would go on without it.
        let is_ended = self.init != 0 && {
            let mut kill = Command::new("kill");
            let killed = kill.args(["-KILL", &self.init.to_string()]).status();
            killed.is_ok_and(|killed| killed.success())
        };
        if !is_ended {
            let _ = self.container.kill();
        }
        let _ = self.container.wait();
    }
}

/// The folder of a release, which is made if it is missing.
pub(super) fn of_release(release: &str) -> Result<PathBuf> {
    let folder = root().join("target/roots").join(release);
    let (_, name) = RELEASES
        .iter()
        .find(|(number, _)| *number == release)
        .context("no such release")?;
    // Those of earlier versions of this have no rpm.
    if folder.join("usr/bin/rpm").exists() {
        return Ok(folder);
    }
    ensure_installed("debootstrap", "debootstrap")?;
    eprintln!("==> making Debian {release} in {}", folder.display());
    let unfinished = folder.with_extension("unfinished");
    for old in [&unfinished, &folder] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    fs::create_dir_all(&unfinished)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args([
        "--variant=minbase",
        "--include=systemd,systemd-sysv,rpm",
        name,
    ]);
    debootstrap.arg(&unfinished).stdout(Stdio::null());
    run(&mut debootstrap)?;
    fs::rename(unfinished, &folder)?;
    Ok(folder)
}

/// Writes a package anew with another version.
pub(super) fn repack(deb: &Path, to: &Path, version: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    run(Command::new("dpkg-deb")
        .arg("-R")
        .arg(deb)
        .arg(folder.path()))?;
    let control = folder.path().join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let old = text
        .lines()
        .find_map(|line| line.strip_prefix("Version: "))
        .context("no version")?;
    fs::write(&control, text.replace(old, version))?;
    build(folder.path(), to)
}

/// Makes a package of a folder.
pub(super) fn build(folder: &Path, to: &Path) -> Result<()> {
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zgzip", "--build"]);
    run(build.arg(folder).arg(to).stdout(Stdio::null()))
}
