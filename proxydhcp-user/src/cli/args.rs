//! Arguments that several commands have: which files, and which of their nodes.

use std::path::PathBuf;

use clap::Args;

use super::{CONFIG, HOSTS, TFTP_ROOT};
use crate::tables::table::Sources;
use crate::winpe::loaders::Loaders;

/// Where the WinPEs are, and what they have.
#[derive(Clone, Debug, Args)]
pub struct RootArgs {
    /// The folder that the TFTP server serves: absolute WinPE paths must lie in it
    #[arg(long, value_name = "DIR", default_value = TFTP_ROOT)]
    pub tftp_root: PathBuf,
    /// Which loader is for which architecture: a table of the settings file, and no flag.
    #[arg(skip)]
    pub loaders: Loaders,
}

/// Which nodes there are, and what their paths are judged by.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The file that says which node boots which WinPE
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootArgs,
}

/// Which address is which node.
#[derive(Clone, Debug, Args)]
pub struct NamesArgs {
    /// The file that says which address is which node; names missing there go to the resolver
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
}

/// What noderanges refer to.
#[derive(Clone, Debug, Args)]
pub struct GroupsArgs {
    /// The groups of a RANGE [default: /etc/proxydhcp.groups, if there is one]
    #[arg(long, value_name = "FILE")]
    pub groups: Option<PathBuf>,
}

impl NamesArgs {
    /// What tables are made from.
    pub(crate) fn sources(&self, config: &ConfigArgs) -> Sources {
        Sources {
            config: config.config.clone(),
            hosts: self.hosts.clone(),
            tftp_root: config.root.tftp_root.clone(),
            loaders: config.root.loaders.clone(),
            suffixes: self.suffixes.clone(),
        }
    }
}

/// A suffix that the first part of a host name can have; an option that follows is none.
pub(crate) fn suffix(text: &str) -> Result<String, String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    if text.is_empty() || text.starts_with("--") || !text.chars().all(is_part) {
        return Err("name what follows the node's own name, such as --suffix=-ib0".to_owned());
    }
    Ok(text.to_owned())
}

/// A noderange may begin with a hyphen; what begins with two is an option with a slip in it.
pub(crate) fn range(text: &str) -> Result<String, String> {
    if text.starts_with("--") {
        return Err("there is no such option".to_owned());
    }
    Ok(text.to_owned())
}
