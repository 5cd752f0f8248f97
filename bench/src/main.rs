//! The benchmark, as `cargo xtask bench` runs it: measures the figures that matter to users.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use proxydhcp_bench::results::Results;
use proxydhcp_bench::{Contender, Figure, Plan, Progress, plot, run as measure};
use proxydhcp_lab::{binary, require_rights};
use signal_hook::consts::{SIGINT, SIGTERM};

mod tables;

/// The exit code that a shell reports for a program ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Measures boot storms, full load, boot storms amid hostile packets, offers, downloads, the cost of
/// an answer, reloads and memory, against other servers on the same wire; and the making of a WinPE.
///
/// Everything happens in private network namespaces. The results go to the terminal, and as JSON
/// and plots to bench/results/, or to bench/results/partial/ if the run is not complete. Needs
/// root, and a machine that does nothing else meanwhile.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
#[command(after_help = "Examples:
  sudo cargo xtask bench                      all of it: some 8 minutes
  sudo cargo xtask bench --quick              about two minutes
  sudo cargo xtask bench --only flood --contenders kernel,raw
  sudo cargo xtask bench --only fleet         about 15 minutes
  sudo cargo xtask bench --peer perl='exec /opt/xcat/sbin/proxydhcp-xcat'")]
struct Arguments {
    /// Fewer sizes and shorter runs.
    #[arg(long)]
    quick: bool,

    /// Measures only these.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FIGURES")]
    only: Vec<OnlyFigure>,

    /// Another daemon for port 4011: `sh -c COMMAND` runs in the server's namespace, where px0 is
    /// the interface with the address 10.77.0.1/16. May be repeated.
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,

    /// The responders in storm, flood and offers, besides the peers.
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_values = Contender::USUAL)]
    contenders: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnlyFigure {
    /// Boot storms of 1,000, 10,000 and 50,000 clients
    Storm,
    /// Replies per second at full load, and at the highest rate without a loss
    Flood,
    /// Boot storms of 1,000 clients while hostile packets come in
    Siege,
    /// 10,000 offers at once, and the conversations that follow them
    Offers,
    /// Downloads by TFTP, of 100 and of 1,000 clients
    Tftp,
    /// Nanoseconds that the XDP program takes for an answer
    Ns,
    /// The time of a reload, and the requests it loses
    Reload,
    /// The daemon's memory
    Memory,
    /// The time and the memory that a WinPE of 300 MiB with 50 drivers takes to make
    Winpe,
    /// Ten service nodes that follow three members of etcd: a first load, and changes (only if asked for)
    Fleet,
}

impl From<OnlyFigure> for Figure {
    fn from(figure: OnlyFigure) -> Self {
        match figure {
            OnlyFigure::Storm => Self::Storm,
            OnlyFigure::Flood => Self::Flood,
            OnlyFigure::Siege => Self::Siege,
            OnlyFigure::Offers => Self::Offers,
            OnlyFigure::Tftp => Self::Tftp,
            OnlyFigure::Ns => Self::Ns,
            OnlyFigure::Reload => Self::Reload,
            OnlyFigure::Memory => Self::Memory,
            OnlyFigure::Winpe => Self::Winpe,
            OnlyFigure::Fleet => Self::Fleet,
        }
    }
}

impl Arguments {
    fn figures(&self) -> Vec<Figure> {
        let chosen = if self.only.is_empty() {
            OnlyFigure::value_variants()
        } else {
            &self.only
        };
        let figures = chosen.iter().copied().map(Figure::from);
        // It needs etcd, and takes longer than all others together.
        let is_usual = |figure: &Figure| *figure != Figure::Fleet || !self.only.is_empty();
        figures.filter(is_usual).collect()
    }

    /// Whether this is the run whose results the README shows.
    fn is_whole(&self) -> bool {
        let all = |contender: &str| self.contenders.iter().any(|name| name == contender);
        !self.quick && self.only.is_empty() && Contender::USUAL.into_iter().all(all)
    }

    fn contenders(&self) -> Result<Vec<Contender>> {
        let usual = self.contenders.iter().map(|name| Contender::usual(name));
        let peers = self.peer.iter().map(|peer| Contender::peer(peer));
        usual.chain(peers).collect()
    }
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    require_rights().context("the benchmark cannot run")?;
    let figures = arguments.figures();
    let contenders = arguments.contenders()?;
    let contests = [Figure::Storm, Figure::Flood, Figure::Offers];
    if contests.iter().any(|figure| figures.contains(figure)) {
        for contender in &contenders {
            contender.prepare()?;
        }
    }
    let binary = binary()?;
    // From here on Ctrl-C only sets a flag, so that everything is taken down in order.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .context("cannot catch signals")?;
    }
    let folder = tempfile::Builder::new()
        .prefix("proxydhcp-bench-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let plan = Plan {
        binary,
        folder: folder.path().to_owned(),
        contenders,
        figures,
        quick: arguments.quick,
        command: command_line(),
    };
    let measured = measure_with_bar(&plan, &interrupted);
    if interrupted.load(Ordering::Relaxed) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let results = measured?;
    println!("{}", tables::render(&results));
    let folder = save(&results, arguments.is_whole())?;
    println!("\nJSON and plots: {}", folder.display());
    Ok(if results.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn measure_with_bar(plan: &Plan, interrupted: &AtomicBool) -> Result<Results> {
    // The bar is hidden if the output is not a terminal.
    let bar = ProgressBar::new(plan.steps());
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} {elapsed}  {prefix} {msg}",
    )?);
    let results = measure(plan, &mut |progress| {
        match progress {
            Progress::Step(what) => {
                bar.inc(1);
                bar.set_prefix(what.to_owned());
                bar.set_message("");
            }
            Progress::Detail("") => {}
            Progress::Detail(detail) => bar.set_message(detail.to_owned()),
        }
        if interrupted.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    results
}

/// The command line as typed, so that the figures can be reproduced.
fn command_line() -> String {
    let quoted = |argument: String| {
        if argument.contains([' ', '\'', '"', '$']) {
            format!("'{}'", argument.replace('\'', r"'\''"))
        } else {
            argument
        }
    };
    let arguments: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    format!("cargo xtask bench {}", arguments.join(" "))
        .trim_end()
        .to_owned()
}

/// Writes JSON and plots; returns their folder.
fn save(results: &Results, is_whole: bool) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let folder = if is_whole {
        folder
    } else {
        folder.join("partial")
    };
    let write = || -> Result<PathBuf> {
        fs::create_dir_all(&folder)?;
        let folder = folder.canonicalize()?;
        let mut json = serde_json::to_string_pretty(results)?;
        json.push('\n');
        fs::write(folder.join("results.json"), json)?;
        plot(results, &folder)?;
        Ok(folder)
    };
    write().with_context(|| format!("cannot write the results to {}", folder.display()))
}
