//! The system tests that run in a guest: the programs that cargo builds for this machine, as they
//! are.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::fetch::output;
use super::guest::Guest;
use crate::binary;

/// How long the tests of one program may take, emulated on a busy machine.
const PATIENCE: Duration = Duration::from_mins(20);
/// Requests a second of a steady load: what an emulated machine with two processors can both send
/// and answer.
const RATE: u32 = 2_000;

/// Some tests of one of the programs of `tests/tests/`.
struct Suite {
    program: &'static str,
    /// What the names of its tests contain; all if there is none.
    filters: &'static [&'static str],
}

/// By each datapath: what requests become of; reloads under load; `kill -9` and the next daemon.
/// When each of their daemons ends, its accounts are checked.
const SUITES: [Suite; 2] = [
    Suite {
        program: "requests",
        filters: &[],
    },
    Suite {
        program: "daemon",
        filters: &["reload_under_load::", "survival::", "mid_storm::"],
    },
];

/// Tests that are built, with the names of those that are to run.
pub(crate) struct Tests {
    program: PathBuf,
    filters: String,
    names: BTreeSet<String>,
}

/// How the tests of one guest ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: BTreeSet<String>,
    /// Those that did not pass, for whatever reason.
    pub(crate) failed: BTreeSet<String>,
}

/// Builds the tests and finds out which there are.
///
/// # Errors
/// When they do not build, or a suite has no tests.
pub(crate) fn build() -> Result<Vec<Tests>> {
    let mut command = binary::cargo();
    // The packages of `cargo xtask test`, for cargo builds others in another way.
    command.args(["test", "--no-run", "--workspace"]);
    command.args(["--exclude", "proxydhcp-ebpf", "--exclude", "proxydhcp-fuzz"]);
    for suite in &SUITES {
        command.args(["--test", suite.program]);
    }
    let built = binary::executables(&mut command).context("the tests do not build")?;
    SUITES
        .iter()
        .map(|suite| {
            let prefix = format!("{}-", suite.program);
            let is_it = |path: &&PathBuf| {
                let name = path.file_name().unwrap_or_default();
                name.as_encoded_bytes().starts_with(prefix.as_bytes())
            };
            let program = built.iter().find(is_it);
            let program = program
                .with_context(|| format!("cargo did not say where {} is", suite.program))?;
            suite.list(program)
        })
        .collect()
}

impl Suite {
    fn list(&self, program: &Path) -> Result<Tests> {
        let mut list = Command::new(program);
        list.args(["--list", "--format", "terse"])
            .args(self.filters);
        let list = output(&mut list)?;
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        // Each filter is there for something.
        for filter in self.filters {
            let is_used = names.iter().any(|name| name.contains(filter));
            ensure!(is_used, "{} has no test {filter}", self.program);
        }
        ensure!(!names.is_empty(), "{} has no tests", self.program);
        Ok(Tests {
            program: program.to_owned(),
            filters: self.filters.join(" "),
            names,
        })
    }
}

impl Tests {
    /// Runs them in a guest.
    ///
    /// # Errors
    /// When one fails, or does not run: names it, and has what it printed.
    pub(crate) fn run(&self, guest: &mut Guest, daemon: &Path) -> Result<Outcome> {
        let folder = self.program.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
        let folder = folder.context("the tests are not in the workspace")?;
        let script = format!(
            "cd '{}/tests'\n\
             export PROXYDHCP_BIN='{}' PROXYDHCP_RATE={RATE} RUST_BACKTRACE=0\n\
             exec '{}' --test-threads=2 --color never {}",
            folder.display(),
            daemon.display(),
            self.program.display(),
            self.filters
        );
        let ended = guest.run(&script, PATIENCE)?;
        let outcome = judge(&self.names, &ended.output);
        if outcome.failed.is_empty() && ended.code == 0 {
            return Ok(outcome);
        }
        let mut words = String::new();
        for name in &outcome.failed {
            // Writing to a string cannot fail.
            let _ = writeln!(words, "    {name}");
        }
        let console = guest.console();
        bail!(
            "{} of {} tests did not pass (exit code {}):\n{words}{}\n{console}",
            outcome.failed.len(),
            self.names.len(),
            ended.code,
            ended.output,
        );
    }
}

/// Which of the tests have passed, by what the test runner has printed. Those that it does not
/// mention have not.
fn judge(wanted: &BTreeSet<String>, output: &str) -> Outcome {
    let passed = output.lines().filter_map(|line| {
        let name = line.strip_prefix("test ")?.strip_suffix(" ... ok")?;
        wanted.get(name).cloned()
    });
    let passed: BTreeSet<String> = passed.collect();
    Outcome {
        failed: wanted - &passed,
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
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n";
        let wanted = set(&["a::good", "a::bad", "a::never", "a::unmentioned"]);
        let outcome = judge(&wanted, output);
        assert_eq!(outcome.passed, set(&["a::good"]));
        let failed = set(&["a::bad", "a::never", "a::unmentioned"]);
        assert_eq!(outcome.failed, failed);
        // A program that ran nothing has passed nothing.
        let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed\n";
        assert_eq!(judge(&wanted, none).failed, wanted);
    }
}
