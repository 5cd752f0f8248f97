//! `proxydhcp node prune`: which nodes nobody knows any more.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::args::PruneArgs;
use crate::api::status::{SHOWN, and_more};
use crate::cli::ConfigArgs;
use crate::names::resolver::{self, Addresses, Resolution};
use crate::nodes::cfg::disabled::Disabled;
use crate::nodes::cfg::{self, Denied};
use crate::sys::file::{self, FileError};
use crate::tables::table::mentioned;

/// How long the resolver may take for all names together.
const LIMIT: Duration = Duration::from_mins(1);

/// The names that neither the hosts file nor the resolver knows. Tells on stderr of those that the
/// resolver could not be asked for.
pub(super) fn names(args: &PruneArgs) -> Result<Vec<String>> {
    let (unmentioned, total) = unmentioned(args)?;
    let (gone, failed) = ask(unmentioned)?;
    if !failed.is_empty() {
        let first = failed.get(..SHOWN).unwrap_or(&failed);
        let more = and_more(failed.len() - first.len());
        eprintln!(
            "proxydhcp: the resolver could not be asked for these nodes, which stay: {}{more}",
            first.join(", ")
        );
    }
    if gone.len() == total && total > 0 {
        bail!(
            "not one of the {total} nodes is known any more; check {} and the resolver, \
             or remove the nodes by `proxydhcp node rm`",
            args.names.hosts.display()
        );
    }
    Ok(gone)
}

/// The nodes that the hosts file does not have, and how many there are altogether.
fn unmentioned(args: &PruneArgs) -> Result<(Vec<String>, usize)> {
    let ConfigArgs { config, root } = &args.change.files.config;
    let bytes = cfg::read(config)?;
    let disabled = Disabled::read(config)?;
    let mut nodes = cfg::parse(&bytes, &root.tftp_root, &root.loaders);
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
    match file::read(path, |_| true) {
        // All nodes could be in the DNS. But more likely it is a slip, and a costly one.
        Err(FileError::Missing(path)) => bail!(
            "{}: no such file; name the hosts file by --hosts, if only an empty one",
            path.display()
        ),
        bytes => Ok(bytes?),
    }
}

/// Those of the names that the resolver denies, in the order given, and those that it could not be
/// asked for.
fn ask(names: Vec<String>) -> Result<(Vec<String>, Vec<String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("cannot start the runtime")?;
    let mut answers: HashMap<String, Addresses> = HashMap::new();
    runtime.block_on(async {
        let mut stream = resolver::addresses(names.clone()).boxed();
        let answered = async {
            while let Some((name, answer)) = stream.next().await {
                answers.insert(name, answer);
            }
        };
        // What is not answered by then is not known to be gone.
        let _ = timeout(LIMIT, answered).await;
    });
    // A question that the resolver has not answered is not waited for.
    runtime.shutdown_background();
    let (mut gone, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        match answers.get(&name) {
            Some(Resolution::Found(_)) => {}
            Some(Resolution::Unknown) => gone.push(name),
            Some(Resolution::Failed(_)) | None => failed.push(name),
        }
    }
    Ok((gone, failed))
}
