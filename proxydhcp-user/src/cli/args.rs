//! Arguments that several commands share: which files to use, and which of their nodes.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context as _;
use clap::builder::{PossibleValue, RangedI64ValueParser};
use clap::{Args, ValueEnum, value_parser};

use super::Context;
use crate::api::control::DEFAULT_SOCKET;
use crate::fleet::address::Address;
use crate::fleet::client::Access;
use crate::names::hosts::is_suffix;
use crate::tables::policy::{ReplyFormat, Unknown};
use crate::tables::table::Sources;

/// The file that xCAT's nodeset writes.
pub(super) const CONFIG: &str = "/var/lib/xcat/proxydhcp.cfg";
pub(super) const HOSTS: &str = "/etc/hosts";
pub(super) const TFTP_ROOT: &str = "/tftpboot";

/// Options that say where the WinPEs are.
#[derive(Clone, Debug, Args)]
pub struct RootArgs {
    /// The folder that the TFTP server serves; absolute WinPE paths must lie in it
    #[arg(long, value_name = "DIR", default_value = TFTP_ROOT)]
    pub tftp_root: PathBuf,
}

/// Options that say which nodes there are, and which paths are allowed.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The file that says which node boots which WinPE
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootArgs,
}

impl ConfigArgs {
    /// Makes the default file's folder where it is missing, as on a host without xCAT. Any other folder
    /// may be missing because its name is misspelt.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn make_default_folder(&self) -> anyhow::Result<()> {
        let path = Path::new(CONFIG);
        let Some(folder) = path.parent().filter(|_| self.config == path) else {
            return Ok(());
        };
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("cannot make the folder {}", folder.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Options that say where the nodes of a fleet are.
#[derive(Clone, Debug, Args)]
pub struct SourceArgs {
    /// Where the nodes are in etcd, such as `etcds://HOST:2379,HOST:2379/PREFIX` [default: in the file of
    /// --config]
    ///
    /// Without TLS, as etcd://, on this host alone.
    #[arg(long, value_name = "URL", value_parser = address)]
    pub source: Option<Address>,
    /// The certificates of those who may vouch for etcd
    #[arg(long, value_name = "FILE", default_value = CA)]
    pub source_ca: PathBuf,
    /// The file with the user and the password for etcd, as USER:PASSWORD, which root owns and others
    /// cannot read [default: none]
    #[arg(long, value_name = "FILE")]
    pub source_login: Option<PathBuf>,
}

/// The certificates that Debian and others trust.
const CA: &str = "/etc/ssl/certs/ca-certificates.crt";

fn address(text: &str) -> Result<Address, String> {
    text.parse()
}

impl SourceArgs {
    /// How etcd is reached, if the nodes are there.
    pub(super) fn access(&self) -> Option<Access> {
        Some(Access {
            address: self.source.clone()?,
            ca: self.source_ca.clone(),
            login: self.source_login.clone(),
        })
    }
}

/// Options that say which address belongs to which node.
#[derive(Clone, Debug, Args)]
pub struct NamesArgs {
    /// The hosts file, which gives nodes their addresses; names missing there go to the resolver
    #[arg(long, value_name = "FILE", default_value = HOSTS)]
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
    /// A file of nodes' hardware addresses, as /etc/ethers is, besides proxydhcp.cfg.hardware [default:
    /// none]
    #[arg(long, value_name = "FILE")]
    pub ethers: Option<PathBuf>,
}

/// Options that say what noderanges refer to.
#[derive(Clone, Debug, Args)]
pub struct GroupsArgs {
    /// The groups file, for a RANGE with groups [default: /etc/proxydhcp.groups, if it exists]
    #[arg(long, value_name = "FILE")]
    pub groups: Option<PathBuf>,
}

impl GroupsArgs {
    /// The groups file named on the command line, if any.
    pub(super) fn file(&self) -> Option<&Path> {
        self.groups.as_deref()
    }
}

impl NamesArgs {
    /// The files and rules that tables are made from.
    pub(super) fn sources(&self, config: &ConfigArgs, context: &Context) -> Sources {
        Sources {
            config: config.config.clone(),
            hosts: self.hosts.clone(),
            tftp_root: config.root.tftp_root.clone(),
            loaders: context.loaders.clone(),
            suffixes: self.suffixes.clone(),
            ethers: self.ethers.clone(),
        }
    }
}

/// Options that say where to reach the daemon.
#[derive(Clone, Debug, Args)]
pub struct ControlArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: SettingsArgs,
    /// The daemon's control socket
    #[arg(long = "control", value_name = "SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

/// Options that say where defaults come from.
#[derive(Clone, Debug, Args)]
pub struct SettingsArgs {
    /// The settings file, for options not given here [default: /etc/proxydhcp.toml, if it exists]
    #[arg(long = "settings", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl ValueEnum for Unknown {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Ignore,
            Self::Default,
            Self::Lookup,
            Self::LookupDefault,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Ignore => PossibleValue::new("ignore").help("They get no answer"),
            Self::Default => PossibleValue::new("default").help("The default WinPE, from Boot/"),
            Self::Lookup => PossibleValue::new("lookup").help(
                "No answer, but the resolver is asked for the address's name: if it leads to a \
                 record, the client's next try is answered",
            ),
            Self::LookupDefault => PossibleValue::new("lookup-default").help(
                "The resolver is asked for the address's name; without a record, the client's next \
                 try gets the default WinPE",
            ),
        })
    }
}

impl ValueEnum for ReplyFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Pxe, Self::Xcat]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Pxe => PossibleValue::new("pxe")
                .help("All that PXE asks for: options 60 and 97, and at least 300 bytes"),
            Self::Xcat => PossibleValue::new("xcat").help(
                "The very bytes of xCAT's own daemon: without options 60 and 97, and no longer \
                 than need be",
            ),
        })
    }
}

/// Parses a share in percent.
pub(super) fn percent() -> RangedI64ValueParser<u16> {
    value_parser!(u16).range(0..=100)
}

/// Parses a suffix; an option that follows by mistake is not one.
pub(super) fn suffix(text: &str) -> Result<String, String> {
    if text.starts_with("--") || !is_suffix(text) {
        return Err("name what follows the node's own name, such as --suffix=-ib0".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses a noderange. It may begin with one hyphen; two mean a misspelt option.
pub(super) fn range(text: &str) -> Result<String, String> {
    if text.starts_with("--") {
        return Err("there is no such option".to_owned());
    }
    Ok(text.to_owned())
}

/// The files that say which nodes there are, and the daemon that serves them, as for `serve`.
#[derive(Clone, Debug, Args)]
pub struct FileArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub groups: GroupsArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlArgs,
}
