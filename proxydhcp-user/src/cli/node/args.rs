//! The command line of `proxydhcp node`.

use clap::{Args, Subcommand};

use crate::cli::args::{ControlArgs, FileArgs, NamesArgs, SourceArgs, range};
use crate::cli::complete;

/// What follows the options in `proxydhcp node --help`.
pub(crate) const HELP: &str = "\
A RANGE is a list of node names:
  n1,n5                  these
  n[01-10]  n[1,3,5-7]   numbers; n01-n10, n01:n10 and n01+9 are the same as the first
  f[1-2]n[1-3]           f1n1 f1n2 f1n3 f2n1 f2n2 f2n3
  @rack1  rack1          a group of the groups file, whose lines are such as rack1: n[01-36]
  @rack[1-3]             these groups; all is every node that is in proxydhcp.cfg
  @rack1@gpu             what is in both; (n1,@rack1)@gpu with parentheses
  ^FILE                  from a file, a RANGE a line
  /n1.*                  nodes that are in proxydhcp.cfg, by regular expression
  -n05  -n[3-5]  -@old   but not these, wherever that stands

Examples:
  proxydhcp node set n[01-36],-n05 winpepath=winboot/x
  proxydhcp node set @login supportproxydhcp=no
  proxydhcp node list '/n0.*' --json
  proxydhcp node rm n36 --dry-run
  proxydhcp node prune";

/// Arguments of `node`.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// The command to run.
    #[command(subcommand)]
    pub command: NodeCommand,
}

/// The commands of `node`.
#[derive(Clone, Debug, Subcommand)]
pub enum NodeCommand {
    /// Choose the WinPE that nodes boot, have them ignored, or say what they are known by
    #[command(after_help = "\
winpepath=PATH is the WinPE's folder, within the TFTP root: winboot/x or /tftpboot/winboot/x;
winpepath= is the default one. supportproxydhcp=no has the daemon ignore the nodes, whatever it
does with unknown clients; supportproxydhcp=yes ends that.

mac=MAC,MAC and uuid=UUID are what one node is known by, whatever its address is; mac= and uuid=
end that. They are kept in proxydhcp.cfg.hardware.

Examples:
  proxydhcp node set n[01-36] winpepath=winboot/x
  proxydhcp node set n[01-36],-@login winpepath=/tftpboot/winboot/x supportproxydhcp=yes
  proxydhcp node set n07 supportproxydhcp=no --dry-run
  proxydhcp node set n08 winpepath=winboot/x mac=52:54:00:12:34:56")]
    Set(SetArgs),
    /// Remove nodes
    ///
    /// Exits with 1 if nodes of the range do not exist; stderr names them.
    #[command(after_help = "\
Examples:
  proxydhcp node rm n[01-36]
  proxydhcp node rm '/old.*' --dry-run")]
    Rm(RmArgs),
    /// List which node boots which WinPE
    ///
    /// Exits with 1 if nodes of the range do not exist; stderr names them.
    #[command(after_help = "\
Examples:
  proxydhcp node list
  proxydhcp node list n[01-36] --limit 5
  proxydhcp node list @rack1 --json | jq -r '.[].node'")]
    List(ListArgs),
    /// Remove nodes whose names are no longer in the hosts file or known to the resolver
    ///
    /// Nodes stay if the resolver does not answer.
    #[command(after_help = "\
Examples:
  proxydhcp node prune --dry-run
  proxydhcp node prune --suffix=-ib0")]
    Prune(PruneArgs),
}

/// Arguments of `node set`.
#[derive(Clone, Debug, Args)]
pub struct SetArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub range: RangeArg,
    /// winpepath=PATH, supportproxydhcp=yes, supportproxydhcp=no, mac=MAC,MAC or uuid=UUID
    #[arg(value_name = "ATTRIBUTE=VALUE", required = true, add = complete::files::attributes())]
    pub attributes: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub names: NamesArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
}

/// Arguments of `node rm`.
#[derive(Clone, Debug, Args)]
pub struct RmArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub range: RangeArg,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
}

/// Arguments of `node list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// The nodes [default: all]
    #[arg(value_name = "RANGE", allow_hyphen_values = true, value_parser = range, add = complete::files::nodes())]
    pub range: Option<String>,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    /// Print at most this many nodes
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub source: SourceArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub files: FileArgs,
}

/// Arguments of `node prune`.
#[derive(Clone, Debug, Args)]
pub struct PruneArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub names: NamesArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
}

/// The nodes that a command works on.
#[derive(Clone, Debug, Args)]
pub struct RangeArg {
    /// The nodes, such as n[01-36],-n05 (see `proxydhcp node --help`)
    #[arg(value_name = "RANGE", allow_hyphen_values = true, value_parser = range, add = complete::files::nodes())]
    pub range: String,
}

/// The options of commands that change something.
#[derive(Clone, Debug, Args)]
pub struct ChangeArgs {
    /// Show what would change, without changing it
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub source: SourceArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub files: FileArgs,
}

impl NodeCommand {
    fn files(&self) -> &FileArgs {
        match self {
            Self::Set(args) => &args.change.files,
            Self::Rm(args) => &args.change.files,
            Self::List(args) => &args.files,
            Self::Prune(args) => &args.change.files,
        }
    }
}

impl NodeArgs {
    /// Where to reach the daemon.
    pub fn control(&self) -> &ControlArgs {
        &self.command.files().control
    }
}
