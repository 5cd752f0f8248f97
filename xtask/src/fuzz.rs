//! `cargo xtask fuzz`: feeds generated packets, files and control requests to the code that reads
//! them.
//!
//! The targets are in `fuzz/`. Stable Rust builds them: `fuzz/instrument` makes rustc count the
//! code that runs.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, str};

use anyhow::{Context, Result, bail, ensure};
use clap::builder::PossibleValuesParser;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use proxydhcp_lab::debian::ensure_installed;

use crate::binary;
use crate::workspace::root;

/// The targets, each with the maximum length of its inputs in bytes: short ones run faster.
const TARGETS: [(&str, usize); 14] = [
    ("bcd", 1600),
    ("cfg", 820),
    ("control", 1200),
    ("disabled", 120),
    ("fleet", 500),
    ("frame", 450),
    ("groups", 120),
    ("hosts", 300),
    ("import", 300),
    ("macs", 200),
    ("noderange", 64),
    ("offer", 600),
    ("settings", 300),
    ("tftp", 120),
];

/// Fuzzes the code that reads packets, files and the control socket, target by target.
///
/// Begins with the inputs in fuzz/corpus/, and keeps those that reach new code in target/fuzz/. An
/// input for which a check fails is written to fuzz/artifacts/, and the command that repeats it is
/// printed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask fuzz                       each target for ten minutes
  cargo xtask fuzz frame --minutes 60
  cargo xtask fuzz --keep cfg            adds to fuzz/corpus/ what reaches new code")]
pub(crate) struct Arguments {
    /// Runs only these; all if none is named.
    #[arg(value_name = "TARGET", value_parser = PossibleValuesParser::new(TARGETS.map(|(name, _)| name)))]
    targets: Vec<String>,

    /// How long each target runs.
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,

    /// Adds the inputs that reach new code to fuzz/corpus/, as few as suffice.
    #[arg(long)]
    keep: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.0..=1e6).contains(&minutes) => Ok(minutes),
        _ => Err("write a number of minutes, such as 0.5".to_owned()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let is_wanted = |name: &str| {
        arguments.targets.is_empty() || arguments.targets.iter().any(|target| target == name)
    };
    let targets: Vec<_> = TARGETS
        .into_iter()
        .filter(|(name, _)| is_wanted(name))
        .collect();
    let time = Duration::from_secs_f64(60.0 * arguments.minutes).max(Duration::from_secs(1));
    let programs = build(&targets)?;
    let mut total = 0;
    for ((name, longest), program) in targets.into_iter().zip(programs) {
        let target = Target::new(name, longest, program)?;
        total += target.run(time)?;
        if arguments.keep {
            target.keep()?;
        }
    }
    println!("no check has failed in {} executions", HumanCount(total));
    Ok(())
}

/// Builds the targets, and returns their programs in the same order.
fn build(targets: &[(&str, usize)]) -> Result<Vec<PathBuf>> {
    ensure_installed("c++", "g++").context("libFuzzer is C++")?;
    let mut command = binary::cargo();
    command.args(["build", "--package", "proxydhcp-fuzz"]);
    for (name, _) in targets {
        command.args(["--bin", name]);
    }
    command.env("RUSTC_WORKSPACE_WRAPPER", root().join("fuzz/instrument"));
    let built = binary::executables(&mut command).context("the fuzz targets do not build")?;
    targets
        .iter()
        .map(|(name, _)| {
            let mut built = built.iter();
            let program = built.find(|program| program.file_name() == Some(name.as_ref()));
            let program = program.with_context(|| format!("cargo did not build {name}"))?;
            Ok(program.clone())
        })
        .collect()
}

/// A built target.
struct Target {
    name: &'static str,
    longest: usize,
    program: PathBuf,
    /// The inputs that are kept in the repository.
    corpus: PathBuf,
    /// The inputs found in addition to them.
    found: PathBuf,
    /// The inputs for which a check failed.
    artifacts: PathBuf,
}

impl Target {
    fn new(name: &'static str, longest: usize, program: PathBuf) -> Result<Self> {
        let folder = |path: &str| {
            let path = root().join(path).join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot make {}", path.display()))
                .map(|()| path)
        };
        Ok(Self {
            name,
            longest,
            program,
            corpus: folder("fuzz/corpus")?,
            found: folder("target/fuzz")?,
            artifacts: folder("fuzz/artifacts")?,
        })
    }

    /// Runs the target and returns the number of inputs tried.
    fn run(&self, time: Duration) -> Result<u64> {
        let mut command = Command::new(&self.program);
        command
            .arg(format!("-max_total_time={}", time.as_secs()))
            .arg(format!("-max_len={}", self.longest))
            .arg(format!("-artifact_prefix={}/", self.artifacts.display()))
            .args(["-timeout=20", "-print_final_stats=1"])
            .args([&self.found, &self.corpus])
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let said = child.stderr.take().context("no stderr")?;
        let log = Log::read(BufReader::new(said), self.name)?;
        if child.wait()?.success() {
            println!("{}", log.summary(self.name, time));
            return Ok(log.executions);
        }
        eprintln!("{}", log.tail.join("\n"));
        let Some(input) = &log.input else {
            bail!("{}: libFuzzer ended early", self.name);
        };
        bail!(
            "{name}: a check has failed, after {executions} executions\n\
             the input: {input}\n\
             repeat it: {program} {input}\n\
             once the bug is fixed, move it to fuzz/corpus/{name}/: the tests try all inputs there",
            name = self.name,
            executions = HumanCount(log.executions),
            program = self.program.display(),
        );
    }

    /// Adds the inputs that were found to the corpus.
    fn keep(&self) -> Result<()> {
        let status = Command::new(&self.program)
            // Only new code counts, not old code that runs more often.
            .args(["-set_cover_merge=1", "-use_counters=0"])
            .args([&self.corpus, &self.found])
            .stderr(Stdio::null())
            .status()?;
        ensure!(status.success(), "{}: cannot merge: {status}", self.name);
        Ok(())
    }
}

/// What libFuzzer has printed.
#[derive(Debug, Default, PartialEq)]
struct Log {
    executions: u64,
    /// Its latest report of progress.
    state: String,
    /// The file with an input for which a check failed.
    input: Option<String>,
    /// The last lines, for people.
    tail: Vec<String>,
}

impl Log {
    /// Reads the output to its end, and shows the progress on a terminal.
    fn read(lines: impl BufRead, name: &'static str) -> Result<Self> {
        // The bar is hidden if the output is not a terminal.
        let bar = ProgressBar::new_spinner()
            .with_style(ProgressStyle::with_template("{prefix} {elapsed} {msg}")?)
            .with_prefix(name);
        let mut log = Self::default();
        for line in lines.split(b'\n') {
            log.take(&String::from_utf8_lossy(&line?));
            bar.set_message(log.state.clone());
        }
        bar.finish_and_clear();
        Ok(log)
    }

    fn take(&mut self, line: &str) {
        // Enough lines for a backtrace.
        const TAIL: usize = 80;
        let is_state = |rest: &str| rest.starts_with(|char: char| char.is_ascii_digit());
        if line.strip_prefix('#').is_some_and(is_state) {
            line.clone_into(&mut self.state);
        } else if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = number.trim().parse().unwrap_or(0);
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.input = Some(path.to_owned());
        } else if !line.starts_with("stat::") {
            if self.tail.len() == TAIL {
                self.tail.remove(0);
            }
            self.tail.push(line.to_owned());
        }
    }

    fn summary(&self, name: &str, time: Duration) -> String {
        let each = |key: &str| {
            let mut words = self.state.split_whitespace();
            words.find(|word| *word == key);
            words.next().unwrap_or("?").to_owned()
        };
        let second = self.executions / time.as_secs().max(1);
        format!(
            "{name}: {} executions in {} s ({}/s), {} edges covered",
            HumanCount(self.executions),
            time.as_secs(),
            HumanCount(second),
            each("cov:"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_known() {
        let folder = root().join("fuzz/fuzz_targets");
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, TARGETS.map(|(name, _)| name));
    }

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let said = "INFO: Seed: 1\n#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 27Mb\n\
            #99\tDONE   cov: 832 ft: 1753 corp: 21/10Kb lim: 700 exec/s: 9 rss: 28Mb\n\
            ###### Recommended dictionary. ######\nDone 99 runs in 11 second(s)\nstat::number_of_executed_units: 1234567\n";
        let log = Log::read(said.as_bytes(), "frame").unwrap();
        assert_eq!(log.input, None);
        assert_eq!(
            log.summary("frame", Duration::from_secs(10)),
            "frame: 1,234,567 executions in 10 s (123,456/s), 832 edges covered"
        );
        let said = "thread panicked\nartifact_prefix='/a/'; Test unit written to /a/crash-12\n";
        let log = Log::read(said.as_bytes(), "frame").unwrap();
        assert_eq!(log.input.as_deref(), Some("/a/crash-12"));
        assert_eq!(log.tail, ["thread panicked"]);
    }
}
