//! Names the sources and the XDP object that this build is of, for `proxydhcp --version`.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={LOCK}");
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let lock = fs::read_to_string(LOCK).unwrap_or_default();
    let object = lock.lines().find_map(|line| line.strip_prefix("object = "));
    let object: String = object
        .map(|hash| hash.trim_matches('"').chars().take(DIGITS).collect())
        .unwrap_or_default();
    let commit = env::var(COMMIT).ok().or_else(commit);
    let commit = commit.map_or_else(String::new, |commit| format!("commit {commit}, "));
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rustc-env=PROXYDHCP_VERSION={version} ({commit}XDP object {object})");
}

/// The file that has the hash of the XDP object. A test compares the two.
const LOCK: &str = "ebpf/proxydhcp.bpf.lock";
/// The commit, for builds that know it and have no repository.
const COMMIT: &str = "PROXYDHCP_COMMIT";
/// How many digits of a hash are shown.
const DIGITS: usize = 12;

/// The commit of the repository that this is built in, if it is one. Builds for developers do not
/// look: they would begin anew with each commit.
fn commit() -> Option<String> {
    if env::var("PROFILE").ok()? != "release" || !Path::new("../.git").exists() {
        return None;
    }
    println!("cargo::rerun-if-changed=../.git/logs/HEAD");
    let digits = format!("--short={DIGITS}");
    let mut git = Command::new("git");
    let output = git.args(["rev-parse", &digits, "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
