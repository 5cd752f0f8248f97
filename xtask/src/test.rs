//! `cargo xtask test`: runs all tests.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use proxydhcp_lab::require_rights;

use crate::{binary, kernels};

use results::Results;

mod packages;
mod results;

/// How long the last lines of output may take once cargo has ended.
const FOR_THE_LAST_LINES: Duration = Duration::from_secs(10);

/// Runs all tests: of units and properties, against golden exchanges, and of the whole system in
/// private network namespaces. The system tests need root, and none is skipped, so this needs root.
/// Without a filter, some of them then run on other kernels, and packages are installed.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:
  sudo cargo xtask test
  sudo cargo xtask test reload
  sudo cargo xtask test firmware
  sudo cargo xtask test reload -- --nocapture
  sudo cargo xtask test --cases 1000000 --seed 7 random_frames
  sudo cargo xtask test kernels
  sudo cargo xtask test kernels 6.1 newest
  sudo cargo xtask test packages",
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
    Packages(packages::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.others {
        Some(Others::Kernels(arguments)) => return kernels::run(arguments),
        Some(Others::Packages(arguments)) => return packages::run(arguments),
        None => {}
    }
    require_rights().context("the system tests cannot run")?;
    eprintln!("==> building the daemon and the tests: some minutes on two cores, the first time");
    let binary = binary::build()?;
    let results = Results::new(count(arguments)?);
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
        .env("PROXYDHCP_COMBINATIONS", combinations(arguments))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let printed = BufReader::new(tests.stdout.take().context("no output of cargo")?);
    let printed = read_until_its_end(printed, results);
    let status = tests.wait()?;
    let results = printed.recv_timeout(FOR_THE_LAST_LINES).context(
        "the tests have ended, but a process that one of them left behind holds their output",
    )??;
    results.name_failures(io::stderr())?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let code = code.map_or(ExitCode::FAILURE, ExitCode::from);
    if !arguments.filters.is_empty() {
        return Ok(code);
    }
    let on_kernels = kernels::run_few()?;
    let with_packages = packages::run_few()?;
    let codes = [code, on_kernels, with_packages];
    let failed = codes.into_iter().find(|code| *code != ExitCode::SUCCESS);
    Ok(failed.unwrap_or(ExitCode::SUCCESS))
}

/// Which combinations of DHCP servers, their hosts and datapaths firmware boots by: all take a quarter of
/// an hour, and are for those who ask for firmware's tests.
fn combinations(arguments: &Arguments) -> &'static str {
    let mut filters = arguments.filters.iter();
    if filters.any(|filter| filter == "firmware") {
        "all"
    } else {
        "some"
    }
}

/// Passes the runners' output on in a thread of its own: it ends only once every process that has
/// inherited the output has ended, which may be later than cargo's end.
fn read_until_its_end(
    printed: impl BufRead + Send + 'static,
    mut results: Results,
) -> Receiver<io::Result<Results>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let read = results.pass_on(printed, io::stdout(), io::stderr());
        // Nobody waits any longer if this came too late.
        let _ = sender.send(read.map(|()| results));
    });
    receiver
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
