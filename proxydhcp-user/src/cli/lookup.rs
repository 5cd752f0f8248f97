//! `proxydhcp lookup`: explains step by step why a client gets what it gets.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use tokio::task::spawn_blocking;

use crate::api::client::look_up;
use crate::cli::args::{ControlArgs, HOSTS, TFTP_ROOT, suffix};
use crate::cli::output::print;
use crate::cli::runtime::block_on;
use crate::cli::serve::{OffersChoice, offer_delay};
use crate::cli::{Context, complete};
use crate::names::ask::ask_for_all;
use crate::names::forward::Names;
use crate::names::reverse::LookedUp;
use crate::names::{hosts, resolver};
use crate::sys::{interface, privileges};
use crate::tables::explain::{Looked, Question, explain};
use crate::tables::generation::Generation;
use crate::tables::policy::{Policy, ReplyFormat, Unknown};
use crate::tables::table::{Files, Sources, Table};
use crate::winpe::architecture::Architecture;
use crate::winpe::loaders::Loaders;

/// How long the resolver may take for all names together.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `lookup`.
#[derive(Clone, Debug, Args)]
pub struct LookupArgs {
    /// A client's address, a node's name, or a MAC address or UUID
    #[arg(value_name = "IP|NAME|MAC|UUID", value_parser = client, add = complete::files::nodes())]
    pub client: String,
    /// The client's firmware: bios, uefi (on x64), arm64, ia32, or an architecture's number
    #[arg(long, value_name = "ARCH", default_value = "uefi")]
    pub arch: Architecture,
    /// Read this proxydhcp.cfg, as a daemon would now, instead of asking the daemon
    #[arg(long = "config", value_name = "FILE")]
    pub offline: Option<PathBuf>,
    /// With --config: the hosts file
    #[arg(
        long,
        value_name = "FILE",
        default_value = HOSTS,
        requires = "offline"
    )]
    pub hosts: PathBuf,
    /// With --config: absolute WinPE paths must lie in this folder
    #[arg(
        long,
        value_name = "DIR",
        default_value = TFTP_ROOT,
        requires = "offline"
    )]
    pub tftp_root: PathBuf,
    /// With --config: a suffix of the names of a node's other interfaces; may be repeated
    #[arg(
        long = "suffix",
        value_name = "SUFFIX",
        allow_hyphen_values = true,
        value_parser = suffix,
        requires = "offline"
    )]
    pub suffixes: Vec<String>,
    /// With --config: a file of nodes' hardware addresses, besides that beside it
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub ethers: Option<PathBuf>,
    /// With --config: what to do about clients whose address belongs to no node
    #[arg(long, value_enum, default_value_t = Unknown::Ignore, requires = "offline")]
    pub unknown: Unknown,
    /// With --config: which PXE clients get an offer when they ask for an address
    #[arg(long, value_enum, default_value_t = OffersChoice::Off, requires = "offline")]
    pub offers: OffersChoice,
    /// With --config: how long an offer waits, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = offer_delay(), requires = "offline")]
    pub offer_delay: u16,
    /// With --config: the TFTP server that clients are sent to
    #[arg(long, value_name = "IP", requires = "offline")]
    pub next_server: Option<Ipv4Addr>,
    /// With --config: the layout of replies
    #[arg(long, value_enum, default_value_t = ReplyFormat::Pxe, requires = "offline")]
    pub reply_format: ReplyFormat,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Parses what identifies a client. A node's name has no colon, so what looks like another kind of
/// address is meant as one.
fn client(text: &str) -> Result<String, String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(
            "PXE clients ask by IPv4 alone; give the node's IPv4 address or its name".to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Looks a client up, and prints what was found.
///
/// # Errors
///
/// If no daemon can be reached, or with --config a file cannot be read.
pub(super) fn run(args: &LookupArgs, context: &Context) -> Result<ExitCode> {
    let looked = match &args.offline {
        Some(config) => {
            privileges::read_as_the_daemon();
            block_on(offline(args, config.clone(), &context.loaders))??
        }
        None => look_up(&args.control.socket, &args.client, args.arch.0)?,
    };
    if args.json {
        print(&serde_json::to_string_pretty(&looked)?);
    } else {
        let mut told = String::new();
        for looked in &looked {
            let _ = writeln!(told, "{looked}");
        }
        print(&told);
    }
    let answered = looked.iter().all(|looked| looked.answered);
    Ok(if answered {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Explains from the files, which are read as a daemon reads them at its start.
async fn offline(args: &LookupArgs, config: PathBuf, loaders: &Loaders) -> Result<Vec<Looked>> {
    let sources = Sources {
        config,
        hosts: args.hosts.clone(),
        tftp_root: args.tftp_root.clone(),
        suffixes: args.suffixes.clone(),
        ethers: args.ethers.clone(),
        loaders: loaders.clone(),
    };
    let policy = Policy {
        unknown: args.unknown,
        next_server: args.next_server,
        reply_format: args.reply_format,
        loaders: loaders.clone(),
        ..Policy::default()
    };
    let files = sources.clone();
    let files = Arc::new(spawn_blocking(move || Files::read(&files)).await??);
    let mut names = Names::default().of(files.wanted(), Instant::now());
    ask_for_all(&mut names, PATIENCE).await;
    let mut looked_up = LookedUp::default();
    looked_up.serve_strangers(args.unknown.serves_looked_up());
    if let (true, Ok(address)) = (args.unknown.is_looked_up(), args.client.parse()) {
        let name = resolver::name(address).await;
        looked_up.answer(address, name, Instant::now());
    }
    let mut table = Table::new(files, &names, &looked_up);
    let local = interface::local_addresses(&interface::list().await?);
    let generation = Generation::next(&Generation::default(), &table, &local, &policy)?;
    table.leave_out(generation.left_out());
    table.leave_out_hardware(generation.left_out_hardware());
    let (client, arch) = (args.client.clone(), args.arch);
    let offers = args.offers.with_delay(args.offer_delay);
    let looked = spawn_blocking(move || {
        let hosts = hosts::read(&sources.hosts);
        explain(&Question {
            asked: &client,
            arch,
            table: &table,
            names: &names,
            looked_up: &looked_up,
            generation: &generation,
            policy: &policy,
            sources: &sources,
            hosts: &hosts,
            local: &local,
            rejected: None,
            waited_for: 0,
            offers,
        })
    });
    Ok(looked.await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_named_in_any_way_but_by_ipv6() {
        for text in [
            "a.b.c",
            "10.0.0.1",
            "1.2.3",
            "525400123456",
            "52:54:0:12:34:56",
        ] {
            assert_eq!(client(text), Ok(text.to_owned()));
        }
        assert!(client("fe80::1").is_err_and(|why| why.contains("IPv4")));
    }
}
