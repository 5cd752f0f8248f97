//! Builds the eBPF crate reproducibly.
//!
//! The bytes must depend only on the sources and the toolchain: not on the paths of the clone or of
//! cargo's home, the user's cargo settings, or the workspace's release profile.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::step;
use super::toolchain::Toolchain;
use crate::command::{output, run};

const TARGET: &str = "bpfel-unknown-none";

/// Code generation is set here instead of in the manifest, whose profile is for user space.
const PROFILE: [(&str, &str); 9] = [
    ("OPT_LEVEL", "3"),
    // BTF is generated from the debug information.
    ("DEBUG", "2"),
    ("STRIP", "none"),
    ("CODEGEN_UNITS", "1"),
    // bpf-linker itself optimises across crates.
    ("LTO", "off"),
    ("PANIC", "abort"),
    ("OVERFLOW_CHECKS", "false"),
    ("DEBUG_ASSERTIONS", "false"),
    ("INCREMENTAL", "false"),
];

/// Builds the object in `target/ebpf` and returns its bytes, with BTF and without DWARF.
pub(super) fn object(root: &Path, toolchain: &Toolchain, linker: &Path) -> Result<Vec<u8>> {
    let target = root.join("target/ebpf");
    let llvm = target.join("llvm");
    offer_llvm(&toolchain.llvm, &llvm)?;

    step(&format!("building with rustc {}", toolchain.version));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args([
            "build",
            "--locked",
            "--release",
            "--package=proxydhcp-ebpf",
            "--bin=proxydhcp",
        ])
        .args(["-Zbuild-std=core", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .current_dir(root)
        // This takes precedence over every other source of flags, including the user's
        // configuration.
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root, toolchain, linker)?)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "")
        // Makes a release compiler accept -Zbuild-std.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("LD_LIBRARY_PATH", &llvm)
        .envs(PROFILE.map(|(key, value)| (format!("CARGO_PROFILE_RELEASE_{key}"), value)));
    run(&mut build)?;

    let stripped = target.join("proxydhcp.bpf.o");
    strip(&target.join(TARGET).join("release/proxydhcp"), &stripped)?;
    fs::read(&stripped).with_context(|| format!("reading {}", stripped.display()))
}

/// bpf-linker opens the first file on `LD_LIBRARY_PATH` named `libLLVM*`, which must be the
/// compiler's own: a system folder may contain several versions.
fn offer_llvm(library: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let link = folder.join("libLLVM.so");
    if link.is_symlink() {
        fs::remove_file(&link).with_context(|| format!("removing {}", link.display()))?;
    }
    symlink(library, &link).with_context(|| format!("linking {}", link.display()))
}

/// The flags for rustc, in the form in which cargo reads them from its environment.
fn flags(root: &Path, toolchain: &Toolchain, linker: &Path) -> Result<OsString> {
    let mut flags = vec![
        // Allows 32-bit registers, and jumps on them; every kernel since 5.1 has them.
        OsString::from("-Ctarget-cpu=v3"),
        "-Clink-arg=--btf".into(),
        // Lets headers be read in words instead of bytes, although Ethernet's 14 bytes misalign
        // them. The flag goes to the linker, which generates the code; rustc warns that it may
        // change.
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access".into(),
        // Otherwise aya's bindings use the architecture of the building machine.
        "--cfg=bpf_target_arch=\"x86_64\"".into(),
        joined("-Clinker=", linker),
    ];

    // File names stay in BTF's line information. If several prefixes match, the last counts.
    let mut renamed = vec![
        (root.to_path_buf(), "/proxydhcp"),
        (toolchain.sources.clone(), "/rust"),
        (toolchain.sources.canonicalize()?, "/rust"),
    ];
    let registries = cargo_home()?.join("registry/src");
    for registry in
        fs::read_dir(&registries).with_context(|| format!("listing {}", registries.display()))?
    {
        renamed.push((registry?.path(), "/crates"));
    }
    for (from, to) in renamed {
        let mut flag = joined("--remap-path-prefix=", &from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    Ok(flags.join("\u{1f}".as_ref()))
}

fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

fn joined(flag: &str, path: &Path) -> OsString {
    let mut joined = OsString::from(flag);
    joined.push(path);
    joined
}

/// Removes DWARF with the `rust-objcopy` of the toolchain that runs this. Every toolchain of rustup
/// has it, and every version of it leaves the same bytes.
fn strip(from: &Path, to: &Path) -> Result<()> {
    let libraries = output(Command::new("rustc").args(["--print", "target-libdir"]))?;
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    run(
        Command::new(Path::new(&libraries).with_file_name("bin/rust-objcopy"))
            .arg("--strip-debug")
            .args([from, to])
            .env("LD_LIBRARY_PATH", Path::new(&sysroot).join("lib")),
    )
}
