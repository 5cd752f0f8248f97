//! Finds the tools that build an eBPF object, and installs missing ones if possible.
//!
//! They are a rustc with the sources of `core`, and a bpf-linker for that rustc's LLVM.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::step;
use crate::command::{output, run};

pub(super) const LINKER_VERSION: &str = "0.10.4";
/// The only LLVM version that this bpf-linker works with, and so the only one that rustc may use.
const LLVM: &str = "22";

/// A rustc that can build for a target whose `core` is not shipped.
pub(super) struct Toolchain {
    pub(super) rustc: PathBuf,
    /// The version of rustc and of its LLVM.
    pub(super) version: String,
    /// The folder with `library/core`.
    pub(super) sources: PathBuf,
    /// LLVM's shared library, for bpf-linker.
    pub(super) llvm: PathBuf,
}

/// Finds a toolchain, of the `preferred` version if there is one.
pub(super) fn rustc(preferred: Option<&str>) -> Result<Toolchain> {
    let (found, reasons) = installed();
    if let Some(toolchain) = choose(found, preferred) {
        return Ok(toolchain);
    }
    let remedy = format!(
        "no Rust with LLVM {LLVM} and its library sources was found:\n  {}\n\
         Install Debian's (apt-get install rustc-web rust-web-src), \
         or give a rustup toolchain its sources (rustup component add rust-src)",
        reasons.join("\n  ")
    );
    let root = output(Command::new("id").arg("-u"))? == "0";
    ensure!(root && Path::new("/etc/debian_version").exists(), remedy);
    install_debian_rust().context(remedy)?;
    let (found, reasons) = installed();
    choose(found, preferred)
        .ok_or_else(|| anyhow!("rustc-web does not fit:\n  {}", reasons.join("\n  ")))
}

fn choose(mut found: Vec<Toolchain>, preferred: Option<&str>) -> Option<Toolchain> {
    let index = found
        .iter()
        .position(|toolchain| Some(toolchain.version.as_str()) == preferred);
    (!found.is_empty()).then(|| found.swap_remove(index.unwrap_or(0)))
}

/// The suitable toolchains, and the reasons why others are not suitable.
fn installed() -> (Vec<Toolchain>, Vec<String>) {
    let mut found = Vec::new();
    let mut reasons = Vec::new();
    // With RUSTC_BOOTSTRAP, the stable toolchain that runs this works as well as a nightly.
    for (name, rustc) in [
        ("rustup's nightly", rustup(&["+nightly"])),
        ("the rustc that runs this", rustup(&[])),
        ("Debian's", Ok(PathBuf::from("/usr/bin/rustc"))),
    ] {
        match rustc.and_then(|rustc| probe(&rustc)) {
            Ok(toolchain) => found.push(toolchain),
            Err(error) => reasons.push(format!("{name}: {error:#}")),
        }
    }
    (found, reasons)
}

/// The compiler behind rustup's proxy.
fn rustup(toolchain: &[&str]) -> Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    // A toolchain that is not installed must not be downloaded.
    rustc
        .args(toolchain)
        .args(["--print", "sysroot"])
        .env("RUSTUP_AUTO_INSTALL", "0");
    Ok(Path::new(&output(&mut rustc)?).join("bin/rustc"))
}

fn probe(rustc: &Path) -> Result<Toolchain> {
    let about = output(Command::new(rustc).arg("-vV"))?;
    let version = about
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("rustc ");
    let llvm_version = about
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .with_context(|| format!("{} has no LLVM", rustc.display()))?;
    ensure!(
        llvm_version.split('.').next() == Some(LLVM),
        "rustc {version} has LLVM {llvm_version}; bpf-linker {LINKER_VERSION} needs {LLVM}"
    );

    let sysroot = PathBuf::from(output(Command::new(rustc).args(["--print", "sysroot"]))?);
    let sources = sysroot.join("lib/rustlib/src/rust");
    let core = sources.join("library/core");
    ensure!(
        core.is_dir(),
        "rustc {version} is without its sources in {}",
        core.display()
    );
    Ok(Toolchain {
        rustc: rustc.to_owned(),
        version: format!("{version}, LLVM {llvm_version}"),
        llvm: shared_llvm(&sysroot)?,
        sources,
    })
}

fn shared_llvm(sysroot: &Path) -> Result<PathBuf> {
    let name = format!("libLLVM.so.{LLVM}");
    let lib = sysroot.join("lib");
    let multiarch = lib.join(format!("{}-linux-gnu", std::env::consts::ARCH));
    [&lib, &multiarch]
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&name))
        .map(|entry| entry.path())
        .with_context(|| format!("no {name}* in {} or {}", lib.display(), multiarch.display()))
}

fn install_debian_rust() -> Result<()> {
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    step("installing Debian's rustc-web and rust-web-src");
    run(apt_get().arg("update"))?;
    // Another rustc package might have to be removed, which is not decided here.
    run(apt_get()
        .args(["install", "--yes", "--no-remove", "--no-install-recommends"])
        .args(["rustc-web", "rust-web-src"]))
}

/// Finds bpf-linker, or installs it into `target/tools`.
pub(super) fn linker(root: &Path) -> Result<PathBuf> {
    let tools = root.join("target/tools");
    let own = tools.join("bin/bpf-linker");
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&on_path).map(|folder| folder.join("bpf-linker"));
    if let Some(linker) = std::iter::once(own.clone())
        .chain(candidates)
        .find(|at| fits(at))
    {
        return Ok(linker);
    }

    step(&format!(
        "installing bpf-linker {LINKER_VERSION} into {}",
        tools.display()
    ));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .args([
            "install",
            "--locked",
            "--force",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
        ])
        .arg("--root")
        .arg(&tools))?;
    ensure!(
        fits(&own),
        "{} is not bpf-linker {LINKER_VERSION}",
        own.display()
    );
    Ok(own)
}

fn fits(linker: &Path) -> bool {
    output(Command::new(linker).arg("--version"))
        .is_ok_and(|version| version == format!("bpf-linker {LINKER_VERSION}"))
}
