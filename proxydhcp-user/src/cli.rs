//! The command line.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::parser::{ArgMatches, ValueSource};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cli::args::RootArgs;
use crate::cli::cfg::CfgCommand;
use crate::cli::check_dhcp::CheckDhcpArgs;
use crate::cli::completions::CompletionsArgs;
use crate::cli::dhcp_conf::DhcpConfArgs;
use crate::cli::events::EventsArgs;
use crate::cli::fleet::FleetCommand;
use crate::cli::lookup::LookupArgs;
use crate::cli::man::ManArgs;
use crate::cli::node::NodeArgs;
use crate::cli::nodes::NodesArgs;
use crate::cli::probe::ProbeArgs;
use crate::cli::reload::ReloadArgs;
use crate::cli::serve::ServeArgs;
use crate::cli::settings::{DEFAULT_FILE, SettingsError, SettingsFile};
use crate::cli::status::StatusArgs;
use crate::cli::top::TopArgs;
use crate::cli::upgrade::UpgradeArgs;
use crate::cli::wait::WaitArgs;
use crate::cli::winpe::WinPeCommand;
use crate::cli::xcat::XcatCommand;
use crate::winpe::loaders::Loaders;
use crate::winpe::path::Rules;

pub mod args;
pub mod cfg;
mod check_dhcp;
mod complete;
pub mod completions;
mod detach;
mod dhcp_conf;
mod events;
pub mod exit;
mod fleet;
mod followed;
mod lookup;
mod man;
mod node;
mod nodes;
mod output;
mod probe;
mod reload;
mod runtime;
pub mod serve;
pub mod settings;
mod status;
mod take_up;
mod top;
mod upgrade;
mod wait;
mod winpe;
mod xcat;

/// Answers the proxyDHCP requests of Windows PE nodes that boot over PXE.
#[derive(Debug, Parser)]
#[command(name = "proxydhcp", version = env!("PROXYDHCP_VERSION"), after_help = EXAMPLES)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  proxydhcp serve                      serve all interfaces, by the default files
  proxydhcp serve -i eth1 --path raw   one interface, without XDP
  proxydhcp reload                     after proxydhcp.cfg or /etc/hosts have changed
  proxydhcp status --json              counters and bad records, for programs
  proxydhcp node set n[01-36] winpepath=winboot/x   and see `proxydhcp node --help`";

/// What the settings file contains besides values for flags.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The boot loader for each architecture.
    pub loaders: Loaders,
}

impl Context {
    /// The rules for WinPE paths within this TFTP root.
    fn rules<'a>(&'a self, root: &'a RootArgs) -> Rules<'a> {
        Rules {
            tftp_root: &root.tftp_root,
            loaders: &self.loaders,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests, in the foreground, until SIGINT or SIGTERM; SIGUSR1 and SIGHUP reload.
    #[command(after_help = "\
Examples:
  proxydhcp serve -i eth1 -i eth2
  proxydhcp serve --config /etc/proxydhcp.cfg --next-server 10.0.0.5 --unknown default
  proxydhcp serve --watch --suffix=-ib0 --unknown lookup
  proxydhcp serve --metrics 127.0.0.1:9941
  proxydhcp serve --check && systemctl restart proxydhcp
  proxydhcp serve --settings /etc/proxydhcp-lab.toml

The settings file may have each of these options, say unknown = \"default\" or
interface = [\"eth1\", \"eth2\"]. An option given here wins over it. It is read at the start only.")]
    Serve(Box<ServeArgs>),
    /// Reload the daemon's files and show what has changed.
    ///
    /// Exits with 1 if the file was rejected (the tables in service stay), and with 2 if some records
    /// were refused (the others are in service).
    #[command(after_help = "\
Examples:
  proxydhcp reload
  proxydhcp reload --allow-empty       when the last node was really removed
  proxydhcp reload --allow-loss 100    when most nodes really lost their addresses")]
    Reload(ReloadArgs),
    /// Show what the daemon serves and what became of the requests.
    ///
    /// Exits with 1 if no daemon can be reached, and with 2 if one runs but its newest files are not in
    /// service, or an interface is not served.
    #[command(after_help = "\
Examples:
  proxydhcp status
  proxydhcp status --prometheus > proxydhcp.prom
  proxydhcp status --quiet || mail -s 'proxydhcp needs a look' root < /dev/null
  proxydhcp status --json | jq '.interfaces[].counters'")]
    Status(StatusArgs),
    /// Show what each node has done: when it asked, what it got, and how far it is.
    ///
    /// The daemon follows every node, whatever answers it. Exits with 1 if it does not serve all nodes of
    /// the RANGE.
    #[command(after_help = "\
Examples:
  proxydhcp nodes
  proxydhcp nodes @rack1 --silent 10m      who of them has not asked
  proxydhcp nodes --since 1h --sort last
  proxydhcp nodes --state refused --json | jq -r '.[] | [.node, .reason] | @tsv'
  proxydhcp nodes --strangers              clients that are no node, and why they got nothing")]
    Nodes(Box<NodesArgs>),
    /// Wait until nodes have been answered, or have fetched their image.
    ///
    /// Shows a bar on a terminal. Exits with 2 if some are missing at the end of --timeout, and names them.
    #[command(after_help = "\
Examples:
  proxydhcp wait n[01-36] --timeout 10m
  proxydhcp wait @rack1 --fetched --timeout 1h && echo all have their image
  proxydhcp wait n[01-36] --since 5m --timeout 1s    who has not been answered in five minutes")]
    Wait(Box<WaitArgs>),
    /// Show what happens: boots that begin, are repeated, end and fail, reloads and interfaces.
    ///
    /// The daemon remembers the last 131,072 events. There is never a line for each packet.
    #[command(after_help = "\
Examples:
  proxydhcp events
  proxydhcp events --follow
  proxydhcp events --follow --json | jq -r 'select(.event == \"fails\") | .node'")]
    Events(EventsArgs),
    /// Watch the nodes boot, in the terminal.
    ///
    /// Shows the answers a second, the datapaths, refusals, every node as a character that changes as it
    /// boots, and the slowest and the silent nodes. q quits.
    #[command(after_help = "\
Examples:
  proxydhcp top
  ssh -t head proxydhcp top")]
    Top(TopArgs),
    /// Explain what a client gets, and why, step by step.
    ///
    /// Asks the daemon, which explains its tables in service; with --config, reads the files instead.
    /// Exits with 1 if a request would not be answered.
    #[command(after_help = "\
Examples:
  proxydhcp lookup 10.0.3.7
  proxydhcp lookup node0001 --arch bios
  proxydhcp lookup 10.0.3.7 --config /var/lib/xcat/proxydhcp.cfg --hosts /etc/hosts")]
    Lookup(Box<LookupArgs>),
    /// Remove from the kernel what a killed daemon has left there.
    ///
    /// A daemon that is killed leaves the kernel answering, for the next daemon to take over. This
    /// command ends that where there will be no next daemon. It refuses while a daemon runs: stop
    /// that instead.
    #[command(after_help = "\
Examples:
  proxydhcp detach")]
    Detach,
    /// Put this version of the program in the place of the daemon that runs, without a gap.
    ///
    /// Packages run it when they have installed a new version. It checks what `serve --check` checks,
    /// kills the old daemon, so that the kernel goes on answering, and waits until the systemd unit
    /// has started the new one. If the check fails, the old daemon stays. A daemon that systemd's
    /// proxydhcp.service did not start is left alone, with a message (exit code 2).
    #[command(after_help = "\
Examples:
  proxydhcp upgrade
  proxydhcp upgrade && proxydhcp status")]
    Upgrade(UpgradeArgs),
    /// Send a request as a client would and show the reply: a health check.
    ///
    /// Sends a PXE request from this host to port 4011. The daemon answers if this host's address
    /// belongs to a node, or if it serves unknown clients. With --follow, the files are fetched, too, by
    /// the names that Windows' boot manager uses: the loader, the BCD and what that names, of images the
    /// first 4 MiB. TFTP cannot begin elsewhere: the rest of an image is fetched with --all only. Exits with 1
    /// if no sound reply came, or a file did not.
    #[command(after_help = "\
Examples:
  proxydhcp probe 10.0.0.1
  proxydhcp probe 10.0.0.1 --follow         from the first request to the image's first 4 MiB
  proxydhcp probe 10.0.0.1 --follow --all   to its last byte
  proxydhcp probe 10.0.0.1 --arch bios --from 10.0.3.7
  proxydhcp probe 10.0.0.1 --json | jq -r .loader")]
    Probe(ProbeArgs),
    /// Ask the DHCP servers of a network as a PXE client would, and show what keeps clients from booting.
    ///
    /// Sends a DISCOVER for each firmware, and takes no lease. Ask from a host on the clients' network: a
    /// server on this host itself is not asked. Exits with 1 if clients cannot boot, and with 2 if there
    /// are warnings only.
    #[command(after_help = "\
Examples:
  proxydhcp check-dhcp -i eth1
  proxydhcp check-dhcp -i eth1 --arch uefi --mac 52:54:00:12:34:56   for a server that knows its clients
  proxydhcp check-dhcp -i eth1 --json | jq -r '.offers[].server'")]
    CheckDhcp(CheckDhcpArgs),
    /// List and check WinPEs, and activate one for firmware without proxyDHCP.
    #[command(
        subcommand,
        after_help = "\
Examples:
  proxydhcp winpe list
  proxydhcp winpe check winpe-a
  proxydhcp winpe activate winpe-a n[01-36]"
    )]
    Winpe(WinPeCommand),
    /// Print the completion script for a shell.
    ///
    /// The script has the shell ask this program, which knows interfaces, nodes and WinPEs. Print it
    /// again after an upgrade.
    #[command(after_help = "\
Examples:
  proxydhcp completions bash > /usr/share/bash-completion/completions/proxydhcp
  proxydhcp completions zsh > /usr/share/zsh/site-functions/_proxydhcp
  proxydhcp completions fish > /usr/share/fish/vendor_completions.d/proxydhcp.fish")]
    Completions(CompletionsArgs),
    /// Print a man page, or write all of them.
    #[command(after_help = "\
Examples:
  proxydhcp man | man -l -
  proxydhcp man proxydhcp.toml | man -l -
  proxydhcp man --dir /usr/local/share/man")]
    Man(ManArgs),
    /// Check, print, fill and repair proxydhcp.cfg, the file that says which node boots which WinPE.
    #[command(
        subcommand,
        after_help = "\
Examples:
  proxydhcp cfg check                  what is wrong with the file, and what to do
  proxydhcp cfg dump --json > nodes.json
  proxydhcp cfg import nodes.json --dry-run"
    )]
    Cfg(CfgCommand),
    /// Choose which nodes boot which WinPE: set, rm, list, prune.
    #[command(after_help = crate::cli::node::HELP)]
    Node(NodeArgs),
    /// Print the configuration that makes a DHCP server hand nodes off to proxydhcp.
    #[command(after_help = "\
Examples:
  proxydhcp dhcp-conf isc > /etc/dhcp/proxydhcp.conf
  proxydhcp dhcp-conf kea > /etc/kea/proxydhcp.json
  proxydhcp dhcp-conf dnsmasq n[01-36],-@login --mac nodes.txt > /etc/dnsmasq.d/proxydhcp.conf

How the file is used is told at its head.")]
    DhcpConf(DhcpConfArgs),
    /// Keep the nodes of many service nodes in etcd: push, pull, diff, status, wait, history, rollback.
    #[command(
        subcommand,
        after_help = "\
Examples:
  proxydhcp fleet push /var/lib/xcat/proxydhcp.cfg
  proxydhcp fleet status
  proxydhcp fleet history"
    )]
    Fleet(FleetCommand),
    /// Make proxydhcp.cfg from xCAT's tables.
    #[command(
        subcommand,
        after_help = "\
Examples:
  proxydhcp xcat sync --dry-run
  proxydhcp xcat sync --check || echo nodeset has lost records"
    )]
    Xcat(XcatCommand),
}

impl Cli {
    /// Reads the command line `args`, which begins with the program name. A value that no flag
    /// gives comes from the settings file, else from `defaults` (flags without their `--`, and
    /// their values), else from the flag's own default.
    ///
    /// If the command line is wrong or asks for help, this ends the process.
    ///
    /// # Errors
    ///
    /// If the settings file is needed and cannot be used.
    pub fn read(
        args: impl IntoIterator<Item = impl Into<OsString>>,
        defaults: &[(&str, &str)],
    ) -> Result<(Command, Context), SettingsError> {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let flags = matches(Self::command(), &args);
        let named = Self::from(&flags);
        let is_file_given = is_given("config", &flags);
        if is_file_given && is_given("source", &flags) {
            let why = "--config and --source both say which nodes there are; leave out one of them";
            exit::end(&Self::command().error(ErrorKind::ArgumentConflict, why));
        }
        let file = if named.needs_settings(&flags) {
            let keys = ServeArgs::augment_args(clap::Command::new("serve"));
            SettingsFile::read(named.command.settings(), &keys)?
        } else {
            SettingsFile::default()
        };
        let file = file.with_one_origin(named.command.settings(), is_file_given)?;
        let file = defaults
            .iter()
            .fold(file, |file, (key, value)| file.or(key, value));
        let cli = Self::from(&matches(file.under(Self::command()), &args));
        cli.refuse_contradictions(&flags)?;
        let context = Context {
            loaders: file.loaders,
        };
        Ok((cli.command, context))
    }

    fn from(matches: &ArgMatches) -> Self {
        Self::from_arg_matches(matches).unwrap_or_else(|error| exit::end(&error))
    }

    /// Refuses options of `serve` that contradict each other, be they of the command line, which ends
    /// the process, or of the settings file.
    fn refuse_contradictions(&self, flags: &ArgMatches) -> Result<(), SettingsError> {
        let Command::Serve(args) = &self.command else {
            return Ok(());
        };
        let Some((these, why)) = args.contradiction() else {
            return Ok(());
        };
        let given = flags.subcommand().map(|(_, given)| given);
        let is_given = |id: &&str| {
            given.and_then(|given| given.value_source(id)) == Some(ValueSource::CommandLine)
        };
        if these.iter().any(is_given) {
            let error = Self::command().error(ErrorKind::ArgumentConflict, why);
            exit::end(&error);
        }
        let path = self.command.settings().unwrap_or(Path::new(DEFAULT_FILE));
        Err(SettingsError::Contradiction {
            path: path.to_owned(),
            why,
        })
    }

    /// Whether the command needs the settings file. One that is given the daemon's socket must not
    /// fail because of a file for the next start, and one that does not concern a daemon must not
    /// fail because of any.
    fn needs_settings(&self, flags: &ArgMatches) -> bool {
        match self.command {
            Command::Detach
            | Command::Upgrade(_)
            | Command::Probe(_)
            | Command::CheckDhcp(_)
            | Command::Completions(_)
            | Command::Man(_) => {
                return false;
            }
            Command::Winpe(ref command) => return command.settings().is_some(),
            Command::Serve(_)
            | Command::Cfg(_)
            | Command::Node(_)
            | Command::DhcpConf(_)
            | Command::Fleet(_)
            | Command::Xcat(_) => {
                return true;
            }
            _ => {}
        }
        let socket = flags
            .subcommand()
            .and_then(|(_, of)| of.value_source("socket"));
        socket != Some(ValueSource::CommandLine)
    }
}

/// Whether the command line has this option, of whatever command.
fn is_given(id: &str, matches: &ArgMatches) -> bool {
    let is_here = matches.try_contains_id(id).is_ok()
        && matches.value_source(id) == Some(ValueSource::CommandLine);
    is_here || matches.subcommand().is_some_and(|(_, of)| is_given(id, of))
}

/// Parses a command line. If it is wrong or asks for help, this ends the process.
fn matches(command: clap::Command, args: &[OsString]) -> ArgMatches {
    let parsed = command.try_get_matches_from(args);
    parsed.unwrap_or_else(|error| exit::end(&error))
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// If the command fails. The error has not been printed.
    pub fn run(&self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Serve(args) => serve::run(args, context),
            Self::Reload(args) => reload::run(args),
            Self::Status(args) => status::run(args),
            Self::Nodes(args) => nodes::run(args),
            Self::Wait(args) => wait::run(args),
            Self::Events(args) => events::run(args),
            Self::Top(args) => top::run(args),
            Self::Detach => detach::run(),
            Self::Upgrade(args) => upgrade::run(args),
            Self::Lookup(args) => lookup::run(args, context),
            Self::Probe(args) => probe::run(args),
            Self::CheckDhcp(args) => check_dhcp::run(args),
            Self::Winpe(command) => winpe::run(command, context),
            Self::Completions(args) => completions::run(args),
            Self::Man(args) => man::run(args),
            Self::Cfg(command) => cfg::run(command, context),
            Self::Node(args) => node::run(args, context),
            Self::DhcpConf(args) => dhcp_conf::run(args, context),
            Self::Xcat(command) => xcat::run(command, context),
            Self::Fleet(command) => fleet::run(command, context),
        }
    }

    /// The settings file that the command's arguments name.
    fn settings(&self) -> Option<&Path> {
        let settings = match self {
            Self::Serve(args) => &args.control.settings,
            Self::Reload(args) => &args.control.settings,
            Self::Status(args) => &args.control.settings,
            Self::Top(args) => &args.control.settings,
            Self::Lookup(args) => &args.control.settings,
            Self::Nodes(args) => &args.of.files.control.settings,
            Self::Wait(args) => &args.of.files.control.settings,
            Self::Events(args) => &args.control.settings,
            Self::Node(args) => &args.control().settings,
            Self::Cfg(command) => command.settings(),
            Self::DhcpConf(args) => &args.settings,
            Self::Xcat(command) => &command.control().settings,
            Self::Winpe(command) => command.settings()?,
            Self::Fleet(command) => &command.of().settings,
            Self::Detach
            | Self::Upgrade(_)
            | Self::Probe(_)
            | Self::CheckDhcp(_)
            | Self::Completions(_)
            | Self::Man(_) => return None,
        };
        settings.file.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Collects the commands, at any depth, whose help has no example that runs them.
    fn without_example(command: &mut clap::Command, line: &str, found: &mut Vec<String>) {
        let help = command.render_long_help().to_string();
        let mut examples = help.lines().skip_while(|line| *line != "Examples:").skip(1);
        if !examples.any(|example| example.starts_with(&format!("  {line}"))) {
            found.push(line.to_owned());
        }
        for subcommand in command.get_subcommands_mut() {
            if subcommand.get_name() != "help" {
                let line = format!("{line} {}", subcommand.get_name());
                without_example(subcommand, &line, found);
            }
        }
    }

    #[test]
    fn every_help_is_sound_and_has_an_example() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let mut found = Vec::new();
        without_example(&mut command, "proxydhcp", &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
