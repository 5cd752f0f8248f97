//! `proxydhcp wait`.

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::api::activity::{NodeActivity, State};
use crate::cli::exit::Exit;
use crate::cli::followed::{FollowedArgs, time};
use crate::cli::nodes::{ago, how_far};
use crate::cli::output::{note, print};
use crate::sys::clock;
use crate::text::{count, printable};

/// How often the daemon is asked.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `wait`.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Give up after this time, such as 10m [default: never]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,
    /// Wait until all have fetched their image (.wim) by the daemon's own TFTP
    #[arg(long)]
    pub fetched: bool,
    /// What was done within this time before counts, too [default: only what is done from now on]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Duration>,
    /// Print the nodes that are missing, and why, as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub of: FollowedArgs,
}

/// Waits until all nodes have been answered, or have fetched their image.
///
/// # Errors
///
/// If no daemon can be reached, or the range is wrong.
pub(super) fn run(args: &WaitArgs) -> Result<ExitCode> {
    let (began, since) = (Instant::now(), clock::since_1970());
    let since = since - args.since.unwrap_or_default().as_secs_f64();
    let chosen = args.of.chosen()?;
    let is_shown = stderr().is_terminal();
    let mut bar: Option<ProgressBar> = None;
    loop {
        let (page, absent) = chosen.ask()?;
        let all = page.nodes.len() + absent.len();
        let mut missing = page.nodes;
        missing.retain(|node| !args.is_there(node, since));
        let left = missing.len() + absent.len();
        let bar = bar.get_or_insert_with(|| begin(all, is_shown));
        bar.set_position((all - left) as u64);
        let is_over = args
            .timeout
            .is_some_and(|timeout| began.elapsed() >= timeout);
        if left > 0 && !is_over {
            let rest = args.timeout.map(|it| it.saturating_sub(began.elapsed()));
            thread::sleep(rest.map_or(LOOK, |rest| rest.min(LOOK)));
            continue;
        }
        bar.finish_and_clear();
        if args.json {
            print(&serde_json::to_string_pretty(&missing)?);
        }
        let done = if args.fetched {
            "fetched their image"
        } else {
            "were answered"
        };
        note(&format!(
            "proxydhcp: {} of {} {done}",
            all - left,
            count(all, "node")
        ));
        if !args.json {
            print(&lines(&missing, &absent, page.now));
        }
        return Ok(if left == 0 { Exit::Done } else { Exit::Partly }.into());
    }
}

impl WaitArgs {
    fn is_there(&self, node: &NodeActivity, since: f64) -> bool {
        // Times are exact to 17 ms.
        let later = |time: Option<f64>| time.is_some_and(|time| time >= since - 0.02);
        if self.fetched {
            node.state == State::Fetched && later(node.last)
        } else {
            later(node.answered)
        }
    }
}

fn begin(all: usize, is_shown: bool) -> ProgressBar {
    if !is_shown {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{pos}/{len} {wide_bar} {elapsed}, rest {eta}");
    ProgressBar::new(all as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Who is missing, and what is known of each.
fn lines(missing: &[NodeActivity], absent: &[String], now: f64) -> String {
    let missing = missing.iter().map(|node| {
        let name = printable(node.node.as_bytes());
        match node.state {
            State::Silent => format!("{name}: has never asked\n"),
            state => format!(
                "{name}: {}, asked {}, answered {}; {}\n",
                state.name(),
                ago(node.last, now),
                ago(node.answered, now),
                how_far(node)
            ),
        }
    });
    let absent = absent.iter().map(|name| format!("{name}: is not served\n"));
    missing.chain(absent).collect()
}
