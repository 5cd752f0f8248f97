//! `proxydhcp reload`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::api::client;
use crate::api::control::Allowed;
use crate::cli::args::{ControlArgs, percent};
use crate::cli::exit::Exit;
use crate::cli::output::print;

/// Arguments of `reload`.
#[derive(Clone, Debug, Args)]
pub struct ReloadArgs {
    /// Accept the files even if they leave no node to serve
    #[arg(long)]
    pub allow_empty: bool,
    /// Accept that nodes whose records stay lose up to this share of the addresses in service
    /// [default: as for `serve`]
    #[arg(id = "allow-this-loss", long = "allow-loss", value_name = "PERCENT", value_parser = percent())]
    pub allow_loss: Option<u16>,
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
    let allowed = Allowed {
        empty: args.allow_empty,
        loss: args.allow_loss,
    };
    let reloaded = client::reload(&args.control.socket, allowed)?;
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
