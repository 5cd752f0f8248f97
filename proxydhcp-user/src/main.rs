//! The `proxydhcp` command.

use std::env;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use proxydhcp::api::control::{NoDaemon, Reply, Request, ask};
use proxydhcp::cli::dhcp_conf::configuration;
use proxydhcp::cli::node;
use proxydhcp::cli::output::print;
use proxydhcp::cli::{CfgCommand, Cli, Command, ReloadArgs, StatusArgs};
use proxydhcp::cli::{cfg, detach, generate, lookup, probe, take_up, winpe};
use proxydhcp::daemon::logging;
use proxydhcp::daemon::run::{Manner, serve};
use proxydhcp::datapath::xdp::pins;
use proxydhcp::sys::privileges;
use proxydhcp::xcat;

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    if xcat::is_called_by(arguments.next().as_deref()) {
        return xcat::main(arguments);
    }
    run().unwrap_or_else(|error| {
        eprintln!("proxydhcp: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    match Cli::read(env::args_os(), &[])?.command {
        Command::Serve(args) => {
            // Before the log, which has a thread of its own.
            let rights = privileges::limit(&args)?;
            let log = logging::start()?;
            let ended = serve(&args, &rights, Manner::default());
            drop(log);
            Ok(ended.map_or_else(
                |error| {
                    logging::last_words(&format!("proxydhcp: {error:#}"));
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            ))
        }
        Command::Reload(args) => reload(&args),
        Command::Status(args) => status(&args),
        Command::Detach => detach::detach(),
        Command::Lookup(args) => lookup::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Winpe(command) => winpe::run(&command),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
        Command::Cfg(command) => match command {
            CfgCommand::Check(args) => cfg::check::check(&args),
            CfgCommand::Dump(args) => cfg::dump::dump(&args),
            CfgCommand::Import(args) => cfg::import::import(&args),
            CfgCommand::Repair(args) => cfg::repair::repair(&args),
        },
        Command::Node(args) => node::run(&args),
        Command::DhcpConf(args) => {
            print(&configuration(&args)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn reload(args: &ReloadArgs) -> Result<ExitCode> {
    let reloaded = take_up::reload(&args.control.socket, args.allow_empty)?;
    if args.json {
        print(&serde_json::to_string_pretty(&reloaded)?);
    } else {
        print(&reloaded.to_string());
    }
    Ok(if reloaded.refused.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

fn status(args: &StatusArgs) -> Result<ExitCode> {
    let request = Request::Status { whole: args.json };
    let reply = ask(&args.control.socket, &request).map_err(|error| {
        if error.is::<NoDaemon>() && pins::are_there() {
            return anyhow!(
                "{error}; the kernel goes on answering for a daemon that was killed, until the \
                 next one starts or `proxydhcp detach`"
            );
        }
        error
    });
    match reply? {
        Reply::Status(status) => print(&serde_json::to_string_pretty(&status)?),
        Reply::Brief(status) => print(&status.to_string()),
        Reply::Rejected(reason) => anyhow::bail!("{reason}"),
        Reply::Reloaded(_) | Reply::Looked(_) => anyhow::bail!("the daemon is of another version"),
    }
    Ok(ExitCode::SUCCESS)
}
