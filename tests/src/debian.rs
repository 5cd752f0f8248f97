//! Programs of Debian packages that tests and benchmarks run.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;

/// Keeps packages from starting their services (invoke-rc.d(8)): tests start their own.
const POLICY_FILE: &str = "/usr/sbin/policy-rc.d";
const POLICY: &str = "#!/bin/sh
# There while proxydhcp's tests install packages. Delete it if it is left over.
exit 101
";

/// Installs the package of `program`, or of the file at this absolute path, if that is missing,
/// where it is one command: as root on Debian. No service of the package is started.
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
    let _policy = Policy::set()?;
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

/// A file of a package that is not installed, as another one excludes it: the package is unpacked into
/// `folder`, without what it depends on.
///
/// # Errors
/// When the package is not to be had, or has no such file.
pub fn unpacked(file: &str, package: &str, folder: &Path) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let path = folder.join(file);
    if path.is_file() {
        return Ok(path);
    }
    let script = "cd \"$1\" && { apt-get download \"$2\" || { apt-get update && apt-get download \"$2\"; }; } &&
        dpkg-deb --extract \"$2\"_*.deb .";
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(folder)
        .arg(package)
        .output()?;
    ensure!(
        output.status.success() && path.is_file(),
        "cannot have {file} of {package}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(path)
}

/// The policy, for as long as this is held; one that was there before stays as it is.
struct Policy {
    is_ours: bool,
}

impl Policy {
    fn set() -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY_FILE);
        match file {
            Ok(mut file) => {
                let policy = Self { is_ours: true };
                file.write_all(POLICY.as_bytes())?;
                Ok(policy)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(Self { is_ours: false })
            }
            Err(error) => Err(error).context(format!("cannot write {POLICY_FILE}")),
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.is_ours {
            // It explains itself to whoever finds it.
            let _ = fs::remove_file(POLICY_FILE);
        }
    }
}

fn apt_get(arguments: &[&str]) -> Result<Output> {
    Command::new("apt-get")
        // Another test's apt-get may be at work.
        .args(["--option", "DPkg::Lock::Timeout=120"])
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
