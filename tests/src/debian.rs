//! Programs of Debian packages that tests and benchmarks run.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;

/// Installs the package of `program` if that is missing, where it is one command: as root on
/// Debian.
///
/// # Errors
/// When the program is not to be had so; names the package.
pub fn ensure_installed(program: &str, package: &str) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if is_installed(program) {
        return Ok(());
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !release.contains("debian") || !geteuid().is_root() {
        bail!("{program} is not installed: install it (Debian's package is {package})");
    }
    let install = ["install", "--yes", "--no-install-recommends", package];
    let mut output = apt_get(&install)?;
    if !output.status.success() {
        // The lists of packages may be old, or there are none.
        apt_get(&["update"])?;
        output = apt_get(&install)?;
    }
    ensure!(
        output.status.success() && is_installed(program),
        "apt-get cannot install {package}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<Output> {
    Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("cannot start apt-get")
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    // Daemons lie where a user's path does not lead.
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join(program))
        .any(|file| file.is_file())
}
