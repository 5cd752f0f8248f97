//! `proxydhcp status`.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Args;

use crate::api::client::{self, NoDaemon};
use crate::api::metrics;
use crate::api::status::{Status, age};
use crate::cli::args::ControlArgs;
use crate::cli::exit::Exit;
use crate::cli::output::print;
use crate::datapath::xdp::pins;
use crate::sys::port_holder::Holder;

/// Arguments of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print the metrics, for the textfile collector of Prometheus' node exporter
    #[arg(long, conflicts_with = "json")]
    pub prometheus: bool,
    /// Print nothing: the exit code says whether all is in service
    #[arg(long, short, conflicts_with_all = ["json", "prometheus"])]
    pub quiet: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Prints what the daemon serves, and what has become of the requests. The exit code is 2 if not all that
/// should be in service is.
///
/// # Errors
///
/// If no daemon can be reached.
pub(super) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let socket = &args.control.socket;
    let (text, is_all_well) = if args.json {
        shown(client::status(socket), |status| {
            Ok(serde_json::to_string_pretty(status)?)
        })
    } else if args.prometheus {
        shown(client::status(socket), |status| {
            Ok(metrics::text(status, (&status.problems).into())?)
        })
    } else {
        shown(
            client::brief_status(socket),
            |status| Ok(status.to_string()),
        )
    }
    .map_err(with_what_is_left)?;
    if !args.quiet {
        print(&text);
    }
    Ok(if is_all_well {
        Exit::Done
    } else {
        Exit::Partly
    }
    .into())
}

/// The status as it is printed, and whether all that should be in service is.
fn shown<P>(
    status: Result<Status<P>>,
    print: impl FnOnce(&Status<P>) -> Result<String>,
) -> Result<(String, bool)> {
    let mut status = status?;
    name_holders(&mut status);
    Ok((print(&status)?, status.is_all_in_service()))
}

/// Names the programs that hold the port: the daemon may not have the right to look for them.
fn name_holders<P>(status: &mut Status<P>) {
    status.port_holders.iter_mut().for_each(Holder::look);
}

/// Adds a note if the kernel answers although no daemon runs.
fn with_what_is_left(error: anyhow::Error) -> anyhow::Error {
    match what_is_left().filter(|_| error.is::<NoDaemon>()) {
        Some(told) => anyhow!("{error}; {told}"),
        None => error,
    }
}

/// What a killed daemon has left in the kernel, if anything.
pub(super) fn what_is_left() -> Option<String> {
    let since = age(pins::age()?);
    Some(match pins::time_left() {
        None => format!(
            "the kernel goes on answering for a daemon that was killed, by tables put into service \
             {since} ago, until the next one starts or `proxydhcp detach`"
        ),
        Some(left) if left.is_zero() => {
            "the kernel no longer answers for a daemon that was killed \
             (--outlive), and lets requests pass"
                .to_owned()
        }
        Some(left) => format!(
            "the kernel goes on answering for a daemon that was killed, by tables put into service \
             {since} ago, for another {} (--outlive), until the next one starts or `proxydhcp detach`",
            age(left)
        ),
    })
}
