//! The command line.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::control::DEFAULT_SOCKET;

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
  proxydhcp status --json              counters and bad records, for programs";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests, in the foreground, until SIGINT or SIGTERM; SIGUSR1 reloads.
    #[command(after_help = "\
Examples:
  proxydhcp serve -i eth1 -i eth2
  proxydhcp serve --config /etc/proxydhcp.cfg --next-server 10.0.0.5 --unknown default
  proxydhcp serve --watch --suffix=-ib0 --unknown lookup")]
    Serve(ServeArgs),
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
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Serve this interface; may be repeated [default: all that are up with an IPv4 address]
    #[arg(short, long = "interface", value_name = "IF")]
    pub interfaces: Vec<String>,
    /// The file that says which node boots which WinPE
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/var/lib/xcat/proxydhcp.cfg"
    )]
    pub config: PathBuf,
    /// The file that says which address is which node; names missing there go to the resolver
    #[arg(long, value_name = "FILE", default_value = "/etc/hosts")]
    pub hosts: PathBuf,
    /// A suffix of the names of a node's other interfaces, such as -ib0; may be repeated
    ///
    /// The addresses of node1-ib0 in the hosts file are then addresses of node1, unless node1-ib0
    /// has a record of its own. Write it with an equals sign: --suffix=-ib0
    #[arg(
        long = "suffix",
        value_name = "SUFFIX",
        allow_hyphen_values = true,
        value_parser = suffix
    )]
    pub suffixes: Vec<String>,
    /// Reload when the config or the hosts file has changed
    #[arg(long)]
    pub watch: bool,
    /// Who answers: the XDP program in the kernel, or this process
    #[arg(long, value_enum, default_value_t = Path::Auto)]
    pub path: Path,
    /// How the XDP program is attached
    #[arg(long, value_enum, default_value_t = XdpMode::Auto)]
    pub xdp_mode: XdpMode,
    /// What clients get whose address belongs to no node
    #[arg(long, value_enum, default_value_t = Unknown::Ignore)]
    pub unknown: Unknown,
    /// The TFTP server that clients are sent to [default: the address they asked]
    #[arg(long, value_name = "IP")]
    pub next_server: Option<Ipv4Addr>,
    /// The folder that the TFTP server serves: absolute WinPE paths must lie in it
    #[arg(long, value_name = "DIR", default_value = "/tftpboot")]
    pub tftp_root: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}

/// A suffix that the first part of a host name can have; an option that follows is none.
fn suffix(text: &str) -> Result<String, String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    if text.is_empty() || text.starts_with("--") || !text.chars().all(is_part) {
        return Err("name what follows the node's own name, such as --suffix=-ib0".to_owned());
    }
    Ok(text.to_owned())
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
    /// The daemon's control socket
    #[arg(long = "control", value_name = "SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

/// `--path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Path {
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
