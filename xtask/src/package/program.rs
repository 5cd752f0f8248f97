//! Builds the program of the packages.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use proxydhcp_lab::debian::ensure_installed;

use super::release::Release;
use crate::binary::{build, executables};
use crate::command::run;
use crate::pypi;
use crate::workspace::root;

/// The glibc that the program is linked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Libc {
    /// That of RHEL 8, by Zig.
    Old,
    /// That of this machine.
    Host,
}

/// Rust's name for the machine, with the version of glibc behind it.
const TARGET: &str = "x86_64-unknown-linux-gnu.2.28";
/// Zig as a linker, and the cargo command that uses it, as `PyPI` has them. The same versions give the
/// same bytes.
const ZIG: [&str; 2] = ["ziglang==0.17.1", "cargo-zigbuild==0.24.1"];

/// Builds it, without symbols, and returns its path.
pub(super) fn build_stripped(libc: Libc, release: &Release) -> Result<PathBuf> {
    let built = match libc {
        Libc::Host => build()?,
        Libc::Old => build_with_zig(release)?,
    };
    ensure_installed("strip", "binutils")?;
    let folder = root().join("target/package");
    fs::create_dir_all(&folder)?;
    let stripped = folder.join("proxydhcp");
    let mut strip = Command::new("strip");
    run(strip.arg("-o").arg(&stripped).arg(built))?;
    Ok(stripped)
}

fn build_with_zig(release: &Release) -> Result<PathBuf> {
    let tools = pypi::programs("zig", &ZIG)?;
    let mut cargo = Command::new(tools.join("cargo-zigbuild"));
    let usual = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([tools].into_iter().chain(env::split_paths(&usual)))?;
    cargo.env("PATH", path).env("RUSTFLAGS", flags());
    cargo.args(["zigbuild", "--release", "--locked", "--target", TARGET]);
    cargo.args(["--package", "proxydhcp-user", "--bin", "proxydhcp"]);
    cargo.current_dir(root());
    if let Some(commit) = &release.commit {
        cargo.env("PROXYDHCP_COMMIT", commit);
    }
    let mut built = executables(release.date(&mut cargo)).context("the daemon does not build")?;
    built
        .pop()
        .context("cargo did not say where it put the daemon")
}

/// The paths of this machine, which panics show, become those of no machine.
fn flags() -> OsString {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let mut flags = OsString::new();
    for (folder, name) in [(home, "cargo"), (Some(root()), "proxydhcp")] {
        let Some(folder) = folder else { continue };
        flags.push("--remap-path-prefix=");
        flags.push(folder);
        flags.push(format!("=/usr/src/{name} "));
    }
    flags
}
