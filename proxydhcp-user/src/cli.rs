//! The command line.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::builder::RangedI64ValueParser;
use clap::parser::{ArgMatches, ValueSource};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, value_parser};
use proxydhcp_common::limit::Limit;

use crate::api::control::DEFAULT_SOCKET;
use crate::cli::dhcp_conf::DhcpConfArgs;
use crate::cli::generate::{CompletionsArgs, ManArgs};
use crate::cli::lookup::LookupArgs;
use crate::cli::node::NodeArgs;
use crate::cli::probe::ProbeArgs;
use crate::cli::settings::{SettingsError, SettingsFile};
use crate::cli::winpe::WinPeCommand;
use crate::tables::generation::ReplyFormat;

mod args;
pub mod cfg;
pub mod detach;
pub mod dhcp_conf;
pub mod generate;
pub mod lookup;
pub mod node;
pub mod output;
pub mod probe;
pub mod settings;
pub mod take_up;
pub mod winpe;

pub use args::{ConfigArgs, GroupsArgs, NamesArgs, RootArgs};
pub(crate) use args::{range, suffix};
pub use cfg::{CfgCommand, CheckArgs, DumpArgs, Format, ImportArgs, RepairArgs};

/// The file that xCAT's nodeset writes.
pub(crate) const CONFIG: &str = "/var/lib/xcat/proxydhcp.cfg";
pub(crate) const HOSTS: &str = "/etc/hosts";
pub(crate) const TFTP_ROOT: &str = "/tftpboot";

/// Answers the proxyDHCP requests of Windows PE nodes that boot over PXE.
#[derive(Debug, Parser)]
#[command(name = "proxydhcp", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  proxydhcp serve                      serve all interfaces from xCAT's files
  proxydhcp serve -i eth1 --path raw   one interface, without XDP
  proxydhcp reload                     after proxydhcp.cfg or /etc/hosts have changed
  proxydhcp status --json              counters and bad records, for programs
  proxydhcp node set n[01-36] winpepath=winboot/x   and see `proxydhcp node --help`";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests, in the foreground, until SIGINT or SIGTERM; SIGUSR1 and SIGHUP reload.
    #[command(after_help = "\
Examples:
  proxydhcp serve -i eth1 -i eth2
  proxydhcp serve --config /etc/proxydhcp.cfg --next-server 10.0.0.5 --unknown default
  proxydhcp serve --watch --suffix=-ib0 --unknown lookup
  proxydhcp serve --settings /etc/proxydhcp-lab.toml

The settings file may have each of these options, say unknown = \"default\" or
interface = [\"eth1\", \"eth2\"]. An option given here wins over it. It is read at the start only.")]
    Serve(Box<ServeArgs>),
    /// Have the daemon read its files again, and tell what has changed.
    ///
    /// Exits with 1 when the file was rejected (what was in service stays), with 2 when some
    /// records were refused (the others are in service).
    #[command(after_help = "\
Examples:
  proxydhcp reload
  proxydhcp reload --allow-empty       when the last node was really removed")]
    Reload(ReloadArgs),
    /// Tell what the daemon serves, and what has become of the requests.
    #[command(after_help = "\
Examples:
  proxydhcp status
  proxydhcp status --json | jq '.interfaces[].counters'")]
    Status(StatusArgs),
    /// Tell what a client gets, and why, step by step.
    ///
    /// Asks the daemon, which answers from the tables that it serves by; with --config, reads the
    /// files instead. Exits with 1 when a request would not be answered.
    #[command(after_help = "\
Examples:
  proxydhcp lookup 10.0.3.7
  proxydhcp lookup node0001 --arch bios
  proxydhcp lookup 10.0.3.7 --config /var/lib/xcat/proxydhcp.cfg --hosts /etc/hosts")]
    Lookup(Box<LookupArgs>),
    /// Take what a killed daemon has left out of the kernel.
    ///
    /// A daemon that is killed leaves the kernel answering, for the next one to take over. This ends
    /// it, where there is to be no next one. Refuses while a daemon runs: stop that instead.
    #[command(after_help = "\
Examples:
  proxydhcp detach")]
    Detach,
    /// Ask a daemon as a client would, and tell its reply: a health check.
    ///
    /// Sends a PXE request from this host to port 4011, so this host's address must be that of a
    /// node, or the daemon serve unknown clients. Exits with 1 when there is no sound reply.
    #[command(after_help = "\
Examples:
  proxydhcp probe 10.0.0.1
  proxydhcp probe 10.0.0.1 --arch bios --from 10.0.3.7
  proxydhcp probe 10.0.0.1 --json | jq -r .loader")]
    Probe(ProbeArgs),
    /// List and check the WinPEs that clients are sent to, and set one for old firmware.
    #[command(
        subcommand,
        after_help = "\
Examples:
  proxydhcp winpe list
  proxydhcp winpe check winpe-a
  proxydhcp winpe activate winpe-a n[01-36]"
    )]
    Winpe(WinPeCommand),
    /// Print what makes a shell complete the command line.
    #[command(after_help = "\
Examples:
  proxydhcp completions bash > /usr/share/bash-completion/completions/proxydhcp
  proxydhcp completions zsh > /usr/share/zsh/site-functions/_proxydhcp
  proxydhcp completions fish > /usr/share/fish/vendor_completions.d/proxydhcp.fish")]
    Completions(CompletionsArgs),
    /// Print the man page, or write one for each command.
    #[command(after_help = "\
Examples:
  proxydhcp man | man -l -
  proxydhcp man --dir /usr/local/share/man/man1")]
    Man(ManArgs),
    /// Check, print, fill and mend proxydhcp.cfg, the file that says which node boots which WinPE.
    #[command(
        subcommand,
        after_help = "\
Examples:
  proxydhcp cfg check                  what is wrong with the file, and what to do
  proxydhcp cfg dump --json > nodes.json
  proxydhcp cfg import nodes.json --dry-run"
    )]
    Cfg(CfgCommand),
    /// Say which nodes boot which WinPE: set, rm, list, prune.
    #[command(after_help = crate::cli::node::HELP)]
    Node(NodeArgs),
    /// Print configuration that has a DHCP server hand nodes off to proxydhcp.
    #[command(after_help = "\
Examples:
  proxydhcp dhcp-conf isc > /etc/dhcp/proxydhcp.conf
  proxydhcp dhcp-conf kea > /etc/kea/proxydhcp.json
  proxydhcp dhcp-conf dnsmasq n[01-36],-@login --mac nodes.txt > /etc/dnsmasq.d/proxydhcp.conf

How the file is used is told at its head.")]
    DhcpConf(DhcpConfArgs),
}

impl Cli {
    /// Reads the command line `args`, program name first. What a flag does not say is taken from
    /// the settings file, else from `defaults` (flags without their `--`, and their values), else
    /// it is the flag's own default.
    ///
    /// Ends the process where the command line is wrong, or asks for help.
    ///
    /// # Errors
    ///
    /// The settings file is needed, and cannot be used.
    pub fn read(
        args: impl IntoIterator<Item = impl Into<OsString>>,
        defaults: &[(&str, &str)],
    ) -> Result<Self, SettingsError> {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let flags = Self::command().get_matches_from(&args);
        let named = Self::from(&flags);
        let file = if named.needs_settings(&flags) {
            let keys = ServeArgs::augment_args(clap::Command::new("serve"));
            SettingsFile::read(named.command.settings(), &keys)?
        } else {
            SettingsFile::default()
        };
        let file = defaults
            .iter()
            .fold(file, |file, (key, value)| file.or(key, value));
        let mut cli = Self::from(&file.under(Self::command()).get_matches_from(args));
        match &mut cli.command {
            Command::Serve(serve) => serve.config.root.loaders = file.loaders,
            Command::Lookup(lookup) => lookup.loaders = file.loaders,
            Command::Cfg(command) => command.root_mut().loaders = file.loaders,
            Command::Node(node) => node.root_mut().loaders = file.loaders,
            Command::Winpe(command) => command.root_mut().loaders = file.loaders,
            Command::DhcpConf(args) => args.loaders = file.loaders,
            _ => {}
        }
        Ok(cli)
    }

    fn from(matches: &ArgMatches) -> Self {
        Self::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
    }

    /// A command that was told where the daemon is does not stumble over a file for the next start,
    /// and what has nothing to do with a daemon not over any.
    fn needs_settings(&self, flags: &ArgMatches) -> bool {
        match self.command {
            Command::Detach | Command::Probe(_) | Command::Completions(_) | Command::Man(_) => {
                return false;
            }
            Command::Serve(_)
            | Command::Winpe(_)
            | Command::Cfg(_)
            | Command::Node(_)
            | Command::DhcpConf(_) => {
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

impl Command {
    fn settings(&self) -> Option<&std::path::Path> {
        let settings = match self {
            Self::Serve(args) => &args.control.settings,
            Self::Reload(args) => &args.control.settings,
            Self::Status(args) => &args.control.settings,
            Self::Lookup(args) => &args.control.settings,
            Self::Node(args) => &args.control().settings,
            Self::Cfg(command) => command.settings(),
            Self::DhcpConf(args) => &args.settings,
            Self::Winpe(command) => command.settings(),
            Self::Detach | Self::Probe(_) | Self::Completions(_) | Self::Man(_) => return None,
        };
        settings.file.as_deref()
    }
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Serve this interface, once it is there; may be repeated [default: all that are up with an
    /// IPv4 address]
    #[arg(short, long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub names: NamesArgs,
    /// Reload when the config or the hosts file has changed
    #[arg(long)]
    pub watch: bool,
    /// Who answers: the XDP program in the kernel, or this process
    #[arg(long, value_enum, default_value_t = DatapathChoice::Auto)]
    pub path: DatapathChoice,
    /// How the XDP program is attached
    #[arg(long, value_enum, default_value_t = XdpMode::Auto)]
    pub xdp_mode: XdpMode,
    /// Stop answering when this process is killed
    ///
    /// Otherwise the kernel goes on answering, by the tables it has, until the next start or
    /// `proxydhcp detach`.
    #[arg(long)]
    pub no_pin: bool,
    /// What clients get whose address belongs to no node
    #[arg(long, value_enum, default_value_t = Unknown::Ignore)]
    pub unknown: Unknown,
    /// The TFTP server that clients are sent to [default: the address they asked]
    #[arg(long, value_name = "IP")]
    pub next_server: Option<Ipv4Addr>,
    /// How replies are laid out
    #[arg(long, value_enum, default_value_t = ReplyFormat::Pxe)]
    pub reply_format: ReplyFormat,
    /// Requests of one source address that are answered in a second; 0: all of them
    ///
    /// No client comes near the default. It keeps whoever forges a node's address from having any
    /// number of replies sent.
    #[arg(long, value_name = "N", default_value_t = Limit::RATE, value_parser = at_most(0))]
    pub rate_limit: u16,
    /// Requests of one source address that are answered at once, before the rate limit holds
    #[arg(long, value_name = "N", default_value_t = Limit::BURST, value_parser = at_most(1))]
    pub burst: u16,
    /// The group whose members may use the control socket, beside root [default: none]
    #[arg(long, value_name = "GROUP")]
    pub control_group: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// A number for the limit, at least this one.
fn at_most(least: i64) -> RangedI64ValueParser<u16> {
    value_parser!(u16).range(least..=Limit::MOST.into())
}

/// Arguments of `reload`.
#[derive(Clone, Debug, Args)]
pub struct ReloadArgs {
    /// Accept files by which no node is served any more
    #[arg(long)]
    pub allow_empty: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Arguments of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// Where the daemon is reached.
#[derive(Clone, Debug, Args)]
pub struct ControlArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
    /// The daemon's control socket
    #[arg(long = "control", value_name = "SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

/// Where defaults come from.
#[derive(Clone, Debug, Args)]
pub struct SettingsArgs {
    /// Take what is not said here from this file [default: /etc/proxydhcp.toml, if there is one]
    #[arg(long = "settings", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `--path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatapathChoice {
    /// kernel where XDP attaches, else raw
    Auto,
    /// The XDP program answers inside the kernel
    Kernel,
    /// This process answers, over AF_XDP sockets
    AfXdp,
    /// This process answers, over an AF_PACKET ring: works with any kernel and interface
    Raw,
}

/// `--xdp-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum XdpMode {
    /// native, else generic; on veth pairs generic
    Auto,
    /// By the driver, or not at all
    Native,
    /// By the network core, on any interface
    Generic,
}

/// `--unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unknown {
    /// No answer
    Ignore,
    /// The default WinPE, from Boot/
    Default,
    /// No answer, but the resolver is asked for the address's name: if it leads to a record, the
    /// client's next try is answered
    Lookup,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The commands, at any depth, whose help has no example that runs them.
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
