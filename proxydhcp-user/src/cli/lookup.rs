//! `proxydhcp lookup`: why a client gets what it gets, step by step.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::task::spawn_blocking;

use crate::api::control::{Reply, Request, ask};
use crate::cli::output::print;
use crate::cli::{ControlArgs, HOSTS, TFTP_ROOT, Unknown, suffix};
use crate::daemon::refresh;
use crate::names::forward::Names;
use crate::names::reverse::{LookedUp, Strangers};
use crate::names::{hosts, resolver};
use crate::sys::interface;
use crate::tables::explain::{Looked, Question, explain};
use crate::tables::generation::{self, Generation, Policy, ReplyFormat};
use crate::tables::table::{Files, Sources, Table};
use crate::winpe::architecture::Architecture;
use crate::winpe::loaders::Loaders;

/// Arguments of `lookup`.
#[derive(Clone, Debug, Args)]
pub struct LookupArgs {
    /// A client's address, or a node's name
    #[arg(value_name = "IP|NAME")]
    pub client: String,
    /// The client's firmware: bios, uefi, or an architecture's number
    #[arg(long, value_name = "ARCH", default_value = "uefi")]
    pub arch: Architecture,
    /// Ask no daemon, but read this proxydhcp.cfg, as a daemon would do now
    #[arg(long = "config", value_name = "FILE")]
    pub offline: Option<PathBuf>,
    /// With --config: which address is which node
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
    /// With --config: what clients get whose address belongs to no node
    #[arg(long, value_enum, default_value_t = Unknown::Ignore, requires = "offline")]
    pub unknown: Unknown,
    /// With --config: the TFTP server that clients are sent to
    #[arg(long, value_name = "IP", requires = "offline")]
    pub next_server: Option<Ipv4Addr>,
    /// With --config: how replies are laid out
    #[arg(long, value_enum, default_value_t = ReplyFormat::Pxe, requires = "offline")]
    pub reply_format: ReplyFormat,
    /// With --config: which loader is for which architecture, of the settings file
    #[arg(skip)]
    pub loaders: Loaders,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Looks a client up, and prints what was found.
///
/// # Errors
///
/// No daemon was reached; files cannot be read.
pub fn run(args: &LookupArgs) -> Result<ExitCode> {
    let looked = match &args.offline {
        Some(config) => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the runtime")
            .and_then(|runtime| {
                let looked = runtime.block_on(offline(args, config.clone()));
                // A question that the resolver has not answered is not waited for.
                runtime.shutdown_background();
                looked
            })?,
        None => online(args)?,
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

fn online(args: &LookupArgs) -> Result<Vec<Looked>> {
    let request = Request::Lookup {
        client: args.client.clone(),
        arch: args.arch.0,
    };
    match ask(&args.control.socket, &request)? {
        Reply::Looked(looked) => Ok(looked),
        Reply::Rejected(reason) => bail!("{reason}"),
        Reply::Reloaded(_) | Reply::Status(_) | Reply::Brief(_) => {
            bail!("the daemon is of another version")
        }
    }
}

/// Does as a daemon does at its start.
async fn offline(args: &LookupArgs, config: PathBuf) -> Result<Vec<Looked>> {
    let sources = Sources {
        config,
        hosts: args.hosts.clone(),
        tftp_root: args.tftp_root.clone(),
        suffixes: args.suffixes.clone(),
        loaders: args.loaders.clone(),
    };
    let policy = Policy {
        unknown: match args.unknown {
            Unknown::Ignore => generation::Unknown::Ignore,
            Unknown::Default => generation::Unknown::Default,
            Unknown::Lookup => generation::Unknown::Lookup(Arc::new(Strangers::new().0)),
        },
        next_server: args.next_server,
        reply_format: args.reply_format,
        loaders: args.loaders.clone(),
        ..Policy::default()
    };
    let files = sources.clone();
    let files = Arc::new(spawn_blocking(move || Files::read(&files)).await??);
    let mut names = Names::default().of(files.wanted(), Instant::now());
    refresh::ask_for_all(&mut names).await;
    let mut looked_up = LookedUp::default();
    if let (Unknown::Lookup, Ok(address)) = (args.unknown, args.client.parse()) {
        let name = resolver::name(address).await;
        looked_up.answer(address, name, Instant::now());
    }
    let table = Table::new(files, &names, &looked_up);
    let local = interface::local_addresses(&interface::list().await?);
    let generation = Generation::next(&Generation::default(), &table, &local, &policy)?;
    let (client, arch) = (args.client.clone(), args.arch);
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
        })
    });
    Ok(looked.await?)
}
