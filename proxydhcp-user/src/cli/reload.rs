//! `proxydhcp reload`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::api::client;
use crate::cli::args::ControlArgs;
use crate::cli::exit::Exit;
use crate::cli::output::print;

/// Arguments of `reload`.
#[derive(Clone, Debug, Args)]
pub struct ReloadArgs {
    /// Accept the files even if they leave no node to serve
    #[arg(long)]
    pub allow_empty: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Makes the daemon read its files again, and prints what has changed.
///
/// # Errors
///
/// If no daemon can be reached, or it rejects the files.
pub(super) fn run(args: &ReloadArgs) -> Result<ExitCode> {
    let reloaded = client::reload(&args.control.socket, args.allow_empty)?;
    if args.json {
        print(&serde_json::to_string_pretty(&reloaded)?);
    } else {
        print(&reloaded.to_string());
    }
    Ok(if reloaded.refused.is_empty() {
        ExitCode::SUCCESS
    } else {
        Exit::Partly.into()
    })
}
