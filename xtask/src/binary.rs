//! Builds the daemon, and other programs of the workspace.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::root;
use serde::Deserialize;

/// The cargo that runs this command, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.current_dir(root());
    cargo
}

/// `cargo test` for all crates that have tests of their own.
pub(crate) fn cargo_test() -> Command {
    let mut cargo = cargo();
    cargo.args(["test", "--workspace", "--exclude", "proxydhcp-ebpf"]);
    // Its checks are also tests of proxydhcp-user.
    cargo.args(["--exclude", "proxydhcp-fuzz"]);
    cargo
}

/// What cargo reports about one thing that it built.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    profile: Profile,
}

/// The profile that cargo built it with.
#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds the release binary and returns its absolute path, wherever cargo puts it.
pub(crate) fn build() -> Result<PathBuf> {
    build_with(&["--release"])
}

/// Builds the daemon without optimising it, which takes far less time: most of what it is built of
/// is part of this program, too, which has the same profile. The XDP program is the same.
pub(crate) fn build_quickly() -> Result<PathBuf> {
    build_with(&["--profile", "quick"])
}

fn build_with(options: &[&str]) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", "proxydhcp-user"]);
    command.args(["--bin", "proxydhcp"]).args(options);
    let mut built = executables(&mut command).context("the daemon does not build")?;
    built
        .pop()
        .context("cargo did not say where it put the daemon")
}

/// Runs `command`, a `cargo build`, and returns the absolute paths of the programs that it reports.
pub(crate) fn executables(command: &mut Command) -> Result<Vec<PathBuf>> {
    let artifacts = artifacts(command)?.into_iter();
    Ok(artifacts
        .filter_map(|artifact| artifact.executable)
        .collect())
}

/// Runs `command`, a `cargo test --no-run`, and returns the absolute paths of the test programs.
pub(crate) fn test_runners(command: &mut Command) -> Result<Vec<PathBuf>> {
    let runners = artifacts(command)?.into_iter();
    Ok(runners
        .filter(|artifact| artifact.profile.test)
        .filter_map(|artifact| artifact.executable)
        .collect())
}

/// Runs a cargo command that builds, and returns its report about each thing that it built.
fn artifacts(command: &mut Command) -> Result<Vec<Artifact>> {
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo does not build it: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}
