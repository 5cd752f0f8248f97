//! `proxydhcp events`.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;

use crate::api::activity::{Event, EventsPage, Happened};
use crate::api::client::{self, NoDaemon};
use crate::cli::args::ControlArgs;
use crate::cli::output::{note, print_line};
use crate::text::count;
use crate::winpe::architecture::Architecture;

/// How often the daemon is asked.
const LOOK: Duration = Duration::from_millis(250);

/// Arguments of `events`.
#[derive(Clone, Debug, Args)]
pub struct EventsArgs {
    /// Go on with what happens from now on, until Ctrl-C; only that, unless --all is given
    #[arg(long, short)]
    pub follow: bool,
    /// With --follow: begin with what the daemon remembers
    #[arg(long, requires = "follow")]
    pub all: bool,
    /// Print an object of JSON in each line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Prints what has happened.
///
/// # Errors
///
/// If no daemon can be reached at first.
pub(super) fn run(args: &EventsArgs) -> Result<ExitCode> {
    let socket = &args.control.socket;
    let mut page = client::events(socket, 0)?;
    let mut known = Known {
        daemon: page.daemon,
        last: 0,
    };
    if args.follow && !args.all {
        // Those behind the last one.
        while page.more {
            page = client::events(socket, page.last)?;
        }
        known.last = page.last;
    } else if !known.show(&page, args.json, false) {
        return Ok(ExitCode::SUCCESS);
    }
    let mut is_told = false;
    loop {
        match client::events(socket, known.last) {
            Ok(page) => {
                is_told = false;
                if !known.show(&page, args.json, true) {
                    return Ok(ExitCode::SUCCESS);
                }
                if page.more {
                    continue;
                }
                if !args.follow {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Err(error) if args.follow && is_away(&error, socket) => {
                if !is_told {
                    note(&format!("proxydhcp: {error:#}; waiting for the next one"));
                    is_told = true;
                }
            }
            Err(error) => return Err(error),
        }
        thread::sleep(LOOK);
    }
}

/// Whether the daemon has ended, or is just ending.
fn is_away(error: &anyhow::Error, socket: &Path) -> bool {
    error.is::<NoDaemon>() || client::events(socket, 0).is_err()
}

/// The last event that was shown.
struct Known {
    daemon: f64,
    last: u64,
}

impl Known {
    /// Shows the events of a page. Returns false once nobody reads them.
    fn show(&mut self, page: &EventsPage, is_json: bool, tells_lost: bool) -> bool {
        #[expect(
            clippy::float_cmp,
            reason = "it is the same number, or another daemon's"
        )]
        let is_another = page.daemon != self.daemon;
        if is_another {
            // Its events are counted anew.
            note("proxydhcp: another daemon runs now");
            (self.daemon, self.last) = (page.daemon, 0);
            return true;
        }
        if page.lost > 0 && (tells_lost || self.last > 0) {
            let lost = usize::try_from(page.lost).unwrap_or(usize::MAX);
            let line = if is_json {
                serde_json::json!({"event": "lost", "count": lost}).to_string()
            } else {
                format!("{} lost, because there were too many", count(lost, "event"))
            };
            if !print_line(&line) {
                return false;
            }
        }
        self.last = page.last;
        page.events.iter().all(|event| {
            print_line(&if is_json {
                serde_json::to_string(event).unwrap_or_default()
            } else {
                line(event)
            })
        })
    }
}

fn line(event: &Event) -> String {
    // As in the log.
    let time = Timestamp::from_second(whole(event.time)).unwrap_or_default();
    let what = match &event.what {
        Happened::Begins { node, arch } => match arch {
            Some(arch) => format!("{node} begins to boot ({})", Architecture((*arch).into())),
            None => format!("{node} begins to boot"),
        },
        Happened::Retries { node, tries } => format!("{node} asks again, {tries} times so far"),
        Happened::Ends {
            node,
            fetched: true,
            seconds,
        } => format!("{node} has fetched its image, {seconds:.1} s after its first request"),
        Happened::Ends { node, .. } => format!("{node} was answered, and asks no more"),
        Happened::Fails { node, reason } if reason == "transfer" => {
            format!("{node} has not got a file that it asked for")
        }
        Happened::Fails { node, reason } => format!("{node} gets no answer: {reason}"),
        Happened::Reloaded {
            generation,
            nodes,
            milliseconds,
        } => format!(
            "reloaded in {milliseconds:.1} ms: generation {generation}, {}",
            count(*nodes, "node")
        ),
        Happened::Rejected { reason } => format!("not reloaded: {reason}"),
        Happened::Serving { interface } => format!("serving {interface}"),
        Happened::NotServing { interface } => format!("no longer serving {interface}"),
    };
    format!("{time} {what}")
}

#[expect(clippy::cast_possible_truncation, reason = "times of day are small")]
fn whole(seconds: f64) -> i64 {
    seconds as i64
}
