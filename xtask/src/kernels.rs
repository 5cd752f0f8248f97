//! `cargo xtask test kernels`: runs the system tests on the kernels that sites run.
//!
//! Each kernel boots in a virtual machine that has this machine's files, and runs the programs that
//! were just built. One network card of the virtual machine leads to a namespace outside, from
//! which a whole cluster boots at once.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;
use std::{fs, iter};

use anyhow::{Context, Result, anyhow};
use clap::builder::PossibleValuesParser;
use proxydhcp_lab::{Namespace, require_rights};

use crate::binary;
use crate::workspace::root;

mod card;
mod fetch;
mod guest;
mod initramfs;
mod modules;
mod report;
mod second_best;
mod served;
mod suites;
mod version;
mod way;

use fetch::Kernel;
use guest::{Accelerator, Guest, Machine};
use report::{Report, Row};
use served::Service;
use suites::{Extent, Tests};
use version::{NEWEST, VERSIONS, Version};
use way::WAYS;

/// The number of guests that run at the same time. An emulated one uses one processor.
const AT_ONCE: usize = 2;

/// Runs the system tests on other kernels: Debian's own, in virtual machines.
///
/// The kernels come from the mirror that this machine's apt uses, and stay in target/kernels/. They
/// run on the processor's own virtualization if that works; otherwise they are emulated, which
/// takes some minutes each.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  sudo cargo xtask test kernels
  sudo cargo xtask test kernels 6.1 newest
  sudo cargo xtask test kernels --few          each kernel, in some minutes
  sudo cargo xtask test kernels --whole 5.10   half an hour")]
pub(crate) struct Arguments {
    /// The kernels; all if none is named.
    #[arg(value_name = "VERSION", value_parser = PossibleValuesParser::new(VERSIONS.each_ref().map(|version| version.name)))]
    versions: Vec<String>,
    /// Run only the tests that `cargo xtask test` takes on two kernels
    #[arg(long)]
    few: bool,
    /// Run the test suites as a whole: half an hour for an emulated kernel
    #[arg(long, conflicts_with = "few")]
    whole: bool,
}

/// Runs the tests on the kernels named, or on all.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let is_chosen = |version: &&Version| {
        arguments.versions.is_empty() || arguments.versions.iter().any(|name| name == version.name)
    };
    let chosen: Vec<_> = VERSIONS.iter().filter(is_chosen).collect();
    // A kernel that the archive has dropped is an error only if it was requested by name.
    let may_lack = arguments.versions.is_empty();
    let extent = match (arguments.few, arguments.whole) {
        (true, _) => Extent::Few,
        (false, true) => Extent::Whole,
        (false, false) => Extent::Each,
    };
    on_kernels(&chosen, extent, may_lack)
}

/// Runs a few tests, on the oldest kernel that Debian supports and on the newest, which takes
/// minutes.
pub(crate) fn run_few() -> Result<ExitCode> {
    let is_chosen = |version: &&Version| ["6.1", NEWEST].contains(&version.name);
    let chosen: Vec<_> = VERSIONS.iter().filter(is_chosen).collect();
    on_kernels(&chosen, Extent::Few, false)
}

fn on_kernels(chosen: &[&'static Version], extent: Extent, may_lack: bool) -> Result<ExitCode> {
    require_rights().context("guests cannot run")?;
    let cache = cache()?;
    let daemon = binary::build()?;
    let tests = suites::build(extent)?;
    let accelerator = Mutex::new(Accelerator::Kvm);
    let run = |version: &'static Version| -> Ran {
        println!("==> Linux {}", version.name);
        let kernel = match fetch::fetch(version, &cache) {
            Ok(kernel) => kernel,
            Err(error) if may_lack && version.is_past_support => {
                println!("NOT RUN, it is no longer available: {error:#}");
                return Ran::Lacking(version.name);
            }
            Err(error) => {
                let mut row = Row::new(version.name);
                row.fails(&error);
                return Ran::Row(row);
            }
        };
        let mut row = Row::new(&kernel.release);
        if let Err(error) = on_kernel(&kernel, &accelerator, &daemon, &tests, &mut row) {
            row.fails(&error);
        }
        Ran::Row(row)
    };
    let left = Mutex::new(chosen.iter().enumerate());
    let next = || left.lock().ok()?.next();
    let mut ran: Vec<(usize, Ran)> = thread::scope(|scope| {
        let work = || -> Vec<_> { iter::from_fn(next).map(|(at, it)| (at, run(it))).collect() };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(ScopedJoinHandle::join);
        ended
            .flat_map(|ran| ran.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    ran.sort_by_key(|(at, _)| *at);
    let mut report = Report::default();
    for (_, ran) in ran {
        match ran {
            Ran::Row(row) => report.add(row),
            Ran::Lacking(version) => report.lacks(version),
        }
    }
    println!("{report}");
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What became of a kernel.
enum Ran {
    Row(Row),
    /// It is no longer available.
    Lacking(&'static str),
}

/// The folder that keeps the kernels.
fn cache() -> Result<PathBuf> {
    let cache = root().join("target/kernels");
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

/// Boots a kernel and runs everything there. The row contains the results so far even if something
/// fails.
fn on_kernel(
    kernel: &Kernel,
    accelerator: &Mutex<Accelerator>,
    daemon: &Path,
    tests: &[Tests],
    row: &mut Row,
) -> Result<()> {
    let outside = Namespace::new()?;
    // A guest sees only files that exist before it boots.
    let service = card::service(daemon)?;
    let machine = Machine {
        kernel,
        initramfs: initramfs::make(kernel)?,
        namespace: &outside,
        devices: card::devices(),
    };
    row.tests = tests.iter().map(Tests::count).sum();
    let mut guest = machine.boot(accelerator)?;
    let release = &kernel.release;
    println!("{release}: up in {:.1?}", guest.boot);
    row.boot = Some(guest.boot);
    storms(&outside, &mut guest, &service, row)?;
    for tests in tests {
        let started = Instant::now();
        let outcome = tests.run(&mut guest, daemon)?;
        let (passed, took) = (outcome.passed.len(), started.elapsed());
        let (name, count) = (tests.name(), tests.count());
        println!("{release}: {name}: {passed} of {count} passed in {took:.1?}");
        row.passed.extend(outcome.passed);
        row.verified.extend(outcome.verified);
        if let Some(failure) = outcome.failure {
            row.fails(&anyhow!(failure));
        }
    }
    Ok(())
}

/// Makes a cluster boot through the guest's card, in each way, and provokes the refusals of its
/// driver.
fn storms(outside: &Namespace, guest: &mut Guest, service: &Service, row: &mut Row) -> Result<()> {
    card::set_up(outside, guest)?;
    for way in WAYS {
        let what = || format!("{}, a storm from outside", way.name);
        let (cells, judged) = card::storm_by(way, outside, guest, service).with_context(what)?;
        println!("{}: {}: {}", row.kernel, what(), cells.join(" "));
        match judged {
            Ok(()) => row.datapaths.push(way.name),
            Err(error) => row.fails(&error.context(what())),
        }
        row.storms.push((way.name, cells));
    }
    if let Err(error) = second_best::check(guest, service) {
        row.fails(&error);
    }
    Ok(())
}
