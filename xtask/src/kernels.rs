//! `cargo xtask test kernels`: the system tests on the kernels that sites run.
//!
//! Each kernel boots in a virtual machine that has this machine's files, and runs the programs that
//! were just built.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use proxydhcp_lab::{Namespace, require_rights};

use crate::binary;

mod fetch;
mod guest;
mod initramfs;
mod modules;
mod suites;
mod version;

use fetch::Kernel;
use guest::{Accelerator, Guest};
use suites::{Outcome, Tests};
use version::{VERSIONS, Version};

/// Runs the system tests on other kernels: Debian's own, in virtual machines.
///
/// The kernels come from the mirror that this machine's apt uses, and stay in target/kernels/. They
/// run on the processor's own virtualization where that works, else emulated, which takes minutes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  sudo cargo xtask test kernels          all of them
  sudo cargo xtask test kernels 6.1 newest")]
pub(crate) struct Arguments {
    /// The kernels; all if none is named.
    #[arg(value_name = "VERSION", value_parser = PossibleValuesParser::new(VERSIONS.each_ref().map(|version| version.name)))]
    versions: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    require_rights().context("guests cannot run")?;
    let daemon = binary::build()?;
    let tests = suites::build()?;
    let all = VERSIONS.iter();
    let chosen = all.filter(|version| {
        arguments.versions.is_empty() || arguments.versions.iter().any(|name| name == version.name)
    });
    let mut code = ExitCode::SUCCESS;
    for version in chosen {
        println!("==> Linux {}", version.name);
        if let Err(error) = on_kernel(version, &daemon, &tests) {
            println!("{error:#}");
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn on_kernel(version: &'static Version, daemon: &PathBuf, tests: &[Tests]) -> Result<()> {
    let cache = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernels");
    std::fs::create_dir_all(&cache)?;
    let kernel = fetch::fetch(version, &cache.canonicalize()?)?;
    println!("{}", kernel.release);
    let initramfs = initramfs::make(&kernel)?;
    let namespace = Namespace::new()?;
    let mut guest = Guest::boot(&kernel, initramfs.path(), Accelerator::Tcg, &namespace, &[])?;
    println!("up in {:.1?}", guest.boot);
    for tests in tests {
        let started = std::time::Instant::now();
        match tests.run(&mut guest, daemon) {
            Ok(outcome) => println!("{} passed in {:.1?}", outcome.passed.len(), started.elapsed()),
            Err(error) => println!("{:.1?} {error:#}", started.elapsed()),
        }
    }
    Ok(())
}
