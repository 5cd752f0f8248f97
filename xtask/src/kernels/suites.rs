//! The system tests that run in a guest. They are the programs that cargo builds for this machine,
//! unchanged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::debian::ensure_installed;

use super::fetch::output;
use super::guest::Guest;
use crate::binary;

/// How long the tests of one program may take, on an emulated machine with a busy host.
const PATIENCE: Duration = Duration::from_mins(40);
/// The rate of a steady load in requests per second, which an emulated machine with two processors
/// can both send and answer: its processors stand still for a second now and then, for which a ring has to
/// suffice.
const RATE: u32 = 500;
/// The number of random frames on which the judgements of kernel and user space are compared.
const CASES: u32 = 2_000;

/// The number of tests to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Some of those below, in minutes.
    Few,
    /// By each datapath: requests of all kinds, reloads under load, a daemon that is killed and its
    /// successor; and interfaces that are built on others.
    Each,
    /// The suites as a whole, in half an hour.
    Whole,
}

/// Some of the tests of a program in `tests/tests/`: for each extent, texts that their names contain.
/// Without any, all tests run.
struct Suite {
    program: &'static str,
    few: &'static [&'static str],
    each: &'static [&'static str],
    whole: &'static [&'static str],
}

/// The verifier's result, and the tests whose outcome may depend on the kernel. An emulated machine
/// takes some six seconds to start each daemon, since the verifier takes as long. When each of their
/// daemons ends, its counters are checked.
const SUITES: [Suite; 4] = [
    Suite {
        program: "verifier",
        few: &[],
        each: &[],
        whole: &[],
    },
    Suite {
        program: "requests",
        few: &["accepted::", "vlan::"],
        each: &[
            "accepted::",
            "agreement::on_random_frames",
            "agreement::on_what_firmware_sends",
            "limits::forged_requests_are_limited_and_the_node_is_not",
            "refusals::",
            "replies::",
            "slow_path::a_checksum_left_to_hardware_is_no_fault",
            "vlan::",
        ],
        whole: &[],
    },
    Suite {
        program: "daemon",
        few: &[
            "reload_under_load::native_xdp",
            "reload_under_load::raw",
            "survival::the_kernel_goes_on_when_the_daemon_is_killed",
        ],
        each: &[
            "reload_under_load::",
            "survival::the_kernel_goes_on_when_the_daemon_is_killed",
            "survival::the_next_daemon_may_answer_in_another_way",
            "survival::what_needs_the_process_ends_with_it",
        ],
        whole: &["reload_under_load::", "survival::", "mid_storm::"],
    },
    Suite {
        program: "stacked",
        few: &["a_bond_is_served"],
        each: &["a_bond_is_served", "a_bridge_is_served", "a_vlan_is_served"],
        whole: &[],
    },
];

/// Built tests, with the names of those to run.
pub(crate) struct Tests {
    name: &'static str,
    program: PathBuf,
    filters: String,
    names: BTreeSet<String>,
}

/// The results of the tests in one guest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: BTreeSet<String>,
    /// The number of instructions that the verifier examined, by program.
    pub(crate) verified: Vec<(String, u32)>,
    /// The tests that did not pass, for whatever reason, and their output.
    pub(crate) failure: Option<String>,
}

/// Builds the tests and lists them.
///
/// # Errors
/// If they do not build, or a suite has no tests.
pub(crate) fn build(extent: Extent) -> Result<Vec<Tests>> {
    // A guest cannot install anything.
    ensure_installed("teamnl", "libteam-utils")?;
    ensure_installed("ethtool", "ethtool")?;
    let mut command = binary::cargo_test();
    command.arg("--no-run");
    for suite in &SUITES {
        command.args(["--test", suite.program]);
    }
    let built = binary::test_runners(&mut command).context("the tests do not build")?;
    SUITES
        .iter()
        .map(|suite| {
            let prefix = format!("{}-", suite.program);
            let is_it = |path: &&PathBuf| {
                let name = path.file_name().unwrap_or_default();
                name.as_encoded_bytes().starts_with(prefix.as_bytes())
            };
            let program = built.iter().find(is_it);
            let program =
                program.with_context(|| format!("cargo did not say where {} is", suite.program))?;
            suite.list(program, extent)
        })
        .collect()
}

impl Suite {
    fn list(&self, program: &Path, extent: Extent) -> Result<Tests> {
        let filters = match extent {
            Extent::Few => self.few,
            Extent::Each => self.each,
            Extent::Whole => self.whole,
        };
        let mut list = Command::new(program);
        list.args(["--list", "--format", "terse"]).args(filters);
        let list = output(&mut list)?;
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        // A filter that matches nothing is a mistake.
        for filter in filters {
            let is_used = names.iter().any(|name| name.contains(filter));
            ensure!(is_used, "{} has no test {filter}", self.program);
        }
        ensure!(!names.is_empty(), "{} has no tests", self.program);
        Ok(Tests {
            name: self.program,
            program: program.to_owned(),
            filters: filters.join(" "),
            names,
        })
    }
}

impl Tests {
    /// The name of the suite.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The number of tests to run.
    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }

    /// Runs the tests in a guest.
    ///
    /// # Errors
    /// If the guest ends, or the tests do not end in time.
    pub(crate) fn run(&self, guest: &mut Guest, daemon: &Path) -> Result<Outcome> {
        let mut folders = self.program.ancestors();
        let folder = folders.find(|folder| folder.join("Cargo.lock").is_file());
        let folder = folder.context("the tests are not in the workspace")?;
        let script = format!(
            "cd '{}/tests'\n\
             export PROXYDHCP_BIN='{}' PROXYDHCP_RATE={RATE} PROXYDHCP_CASES={CASES}\n\
             exec '{}' --test-threads=2 --show-output --include-ignored {}",
            folder.display(),
            daemon.display(),
            self.program.display(),
            self.filters
        );
        let ended = guest
            .run(&script, PATIENCE)
            .with_context(|| format!("the tests of {}", self.name))?;
        let mut outcome = judge(&self.names, &ended.output);
        if ended.code != 0 && outcome.failure.is_none() {
            outcome.failure = Some(format!("exit code {}", ended.code));
        }
        if let Some(failure) = &mut outcome.failure {
            let console = guest.console();
            *failure = format!("{}: {failure}\n{}\n{console}", self.name, ended.output);
        }
        Ok(outcome)
    }
}

/// Determines from the test runner's output which tests have passed. Tests that it does not mention
/// have not.
fn judge(wanted: &BTreeSet<String>, output: &str) -> Outcome {
    let passed = output.lines().filter_map(|line| {
        let name = line.strip_prefix("test ")?.strip_suffix(" ... ok")?;
        wanted.get(name).cloned()
    });
    let passed: BTreeSet<String> = passed.collect();
    let verified = output.lines().filter_map(|line| {
        let (program, count) = line.strip_prefix("verifier: ")?.split_once(' ')?;
        Some((program.to_owned(), count.parse().ok()?))
    });
    let failed: Vec<&str> = wanted.difference(&passed).map(String::as_str).collect();
    Outcome {
        verified: verified.collect(),
        failure: (!failed.is_empty()).then(|| format!("not passed: {}", failed.join(", "))),
        passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_has_not_passed_has_failed() {
        let output = "\n\
            running 4 tests\n\
            test a::good ... ok\n\
            test a::bad ... FAILED\n\
            test a::never ... ignored\n\
            test stray ... ok\n\
            \n\
            verifier: answer 41234\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n";
        let wanted = set(&["a::good", "a::bad", "a::never", "a::unmentioned"]);
        let outcome = judge(&wanted, output);
        assert_eq!(outcome.passed, set(&["a::good"]));
        assert_eq!(
            outcome.failure.unwrap(),
            "not passed: a::bad, a::never, a::unmentioned"
        );
        assert_eq!(outcome.verified, [("answer".to_owned(), 41234)]);
    }

    #[test]
    fn a_program_that_ran_nothing_has_passed_nothing() {
        let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed\n";
        let outcome = judge(&set(&["a"]), none);
        assert_eq!(outcome.failure.unwrap(), "not passed: a");
    }
}
