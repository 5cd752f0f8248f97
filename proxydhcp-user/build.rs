//! Names the sources and the XDP object that this build is of, for `proxydhcp --version`.

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
    let commit =
        env::var(COMMIT).map_or_else(|_| String::new(), |commit| format!("commit {commit}, "));
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rustc-env=PROXYDHCP_VERSION={version} ({commit}XDP object {object})");
}

/// The file that has the hash of the XDP object. A test compares the two.
const LOCK: &str = "ebpf/proxydhcp.bpf.lock";
/// The commit, which `cargo xtask package` sets. Other builds name none: they would begin anew with each
/// commit.
const COMMIT: &str = "PROXYDHCP_COMMIT";
/// How many digits of a hash are shown.
const DIGITS: usize = 12;
