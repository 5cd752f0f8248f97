//! `proxydhcp node prune`: finds the nodes whose names no longer exist.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::args::PruneArgs;
use super::unknown::ask;
use crate::cli::Context;
use crate::cli::args::ConfigArgs;
use crate::cli::output::note;
use crate::nodes::cfg::disabled::Disabled;
use crate::nodes::cfg::{self, Denied};
use crate::sys::file::FileError;
use crate::sys::text_file;
use crate::tables::table::mentioned;
use crate::text::listed;

/// How long the resolver may take for all names together.
const LIMIT: Duration = Duration::from_mins(1);

/// The names that neither the hosts file nor the resolver knows. Names that the resolver could not
/// be asked for are reported on stderr.
pub(super) fn names(args: &PruneArgs, context: &Context) -> Result<Vec<String>> {
    let (unmentioned, total) = unmentioned(args, context)?;
    let (gone, failed) = ask(unmentioned, LIMIT)?;
    if !failed.is_empty() {
        note(&format!(
            "proxydhcp: the resolver could not be asked for these nodes, which stay: {}",
            listed(&failed)
        ));
    }
    if gone.len() == total && total > 0 {
        bail!(
            "none of the {total} nodes is known any longer; check {} and the resolver, \
             or remove the nodes with `proxydhcp node rm`",
            args.names.hosts.display()
        );
    }
    Ok(gone)
}

/// The nodes that are not in the hosts file, and the number of all nodes.
fn unmentioned(args: &PruneArgs, context: &Context) -> Result<(Vec<String>, usize)> {
    let ConfigArgs { config, root } = &args.change.files.config;
    let bytes = cfg::read(config)?;
    let disabled = Disabled::read(config, || cfg::names(&bytes))?;
    let mut nodes = cfg::parse(&bytes, context.rules(root));
    nodes.deny(disabled.names().map(|name| Denied { number: None, name }));
    let hosts = hosts(&args.names.hosts)?;
    let mentioned = mentioned(&nodes, &args.names.suffixes, &hosts);
    let total = mentioned.len();
    let names = nodes
        .records
        .iter()
        .map(|record| record.name)
        .chain(nodes.denied.iter().map(|node| node.name));
    let names = names.zip(mentioned).filter(|(_, mentioned)| !mentioned);
    Ok((names.map(|(name, _)| name.to_owned()).collect(), total))
}

fn hosts(path: &Path) -> Result<Vec<u8>> {
    match text_file::read(path) {
        // All nodes could be in the DNS. But a missing file is more likely a mistake, and a costly
        // one.
        Err(FileError::Missing(path)) => bail!(
            "{}: no such file; name one with --hosts, even an empty one",
            path.display()
        ),
        bytes => Ok(bytes?),
    }
}
