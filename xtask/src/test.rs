//! `cargo xtask test`: runs all tests.

use std::ffi::OsString;
use std::io::{self, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use proxydhcp_lab::require_rights;

use crate::{binary, kernels};

use results::Results;

mod results;

/// Runs all tests: of units and properties, against golden exchanges, and of the whole system in
/// private network namespaces. The system tests need root, and none is skipped, so this needs root.
/// Without a filter, some of them then run on other kernels.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:
  sudo cargo xtask test
  sudo cargo xtask test reload
  sudo cargo xtask test firmware
  sudo cargo xtask test reload -- --nocapture
  sudo cargo xtask test --cases 1000000 --seed 7 random_frames
  sudo cargo xtask test kernels
  sudo cargo xtask test kernels 6.1 newest",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    others: Option<Others>,

    /// Runs only the tests whose names contain one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<OsString>,

    /// The number of random frames on which the judgements of kernel and user space are compared.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    cases: u64,

    /// The seed of those frames; a failure prints it.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Arguments for the test runner itself.
    #[arg(last = true, value_name = "RUNNER ARGS")]
    runner: Vec<OsString>,
}

#[derive(clap::Subcommand)]
enum Others {
    Kernels(kernels::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(Others::Kernels(arguments)) = &arguments.others {
        return kernels::run(arguments);
    }
    require_rights().context("the system tests cannot run")?;
    eprintln!("==> building the daemon and the tests: some minutes on two cores, the first time");
    let binary = binary::build()?;
    let mut results = Results::new(count(arguments)?);
    let mut tests = binary::cargo_test()
        // A failure in one crate must not hide the results of the others.
        .args(["--no-fail-fast", "--"])
        // The system tests load the machine and measure time, so more at once would disturb each
        // other.
        .arg("--test-threads=2")
        .args(&arguments.runner)
        .args(&arguments.filters)
        .env("PROXYDHCP_BIN", binary)
        .env("PROXYDHCP_CASES", arguments.cases.to_string())
        .env("PROXYDHCP_SEED", arguments.seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let printed = BufReader::new(tests.stdout.take().context("no output of cargo")?);
    results.pass_on(printed, io::stdout(), io::stderr())?;
    let status = tests.wait()?;
    results.name_failures(io::stderr())?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let code = code.map_or(ExitCode::FAILURE, ExitCode::from);
    if !arguments.filters.is_empty() {
        return Ok(code);
    }
    let on_kernels = kernels::run_few()?;
    Ok(if code == ExitCode::SUCCESS {
        on_kernels
    } else {
        code
    })
}

/// Builds the tests, and counts those that will run.
fn count(arguments: &Arguments) -> Result<usize> {
    let runners = binary::test_runners(binary::cargo_test().arg("--no-run"))?;
    let mut count = 0;
    for runner in runners {
        let list = Command::new(runner)
            .args(["--list", "--format", "terse"])
            .args(&arguments.runner)
            .args(&arguments.filters)
            .output()?;
        let list = String::from_utf8_lossy(&list.stdout);
        count += list.lines().filter(|line| line.ends_with(": test")).count();
    }
    Ok(count)
}
