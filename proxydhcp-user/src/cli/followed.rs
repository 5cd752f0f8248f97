//! What the commands share that show what nodes have done.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use jiff::SignedDuration;

use crate::api::activity::{NodeActivity, NodesPage};
use crate::api::client;
use crate::cli::args::{FileArgs, range};
use crate::cli::complete;
use crate::nodes::selection::Nodes;

/// Which nodes, and where the daemon is.
#[derive(Clone, Debug, Args)]
pub struct FollowedArgs {
    /// The nodes, such as n[01-36],-n05 (see `proxydhcp node --help`) [default: all]
    #[arg(value_name = "RANGE", allow_hyphen_values = true, value_parser = range, add = complete::files::nodes())]
    pub range: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub files: FileArgs,
}

/// The names in a range up to which the daemon is asked for these alone.
const FEW: usize = 1000;

/// The nodes of a range.
pub(super) struct Chosen<'a> {
    args: &'a FollowedArgs,
    /// `None`: all.
    names: Option<Vec<String>>,
}

impl FollowedArgs {
    /// The nodes that the range names.
    ///
    /// # Errors
    ///
    /// If the range is wrong, or names nobody, or a file for it cannot be read.
    pub(super) fn chosen(&self) -> Result<Chosen<'_>> {
        let names = match &self.range {
            Some(range) => {
                let nodes = Nodes::read_if_there(&self.files.config.config)?;
                Some(nodes.some_of_range(range, self.files.groups.file())?)
            }
            None => None,
        };
        Ok(Chosen { args: self, names })
    }
}

impl Chosen<'_> {
    /// What they have done, in the order of the range, and the names that the daemon does not know.
    ///
    /// # Errors
    ///
    /// If no daemon can be reached.
    pub(super) fn ask(&self) -> Result<(NodesPage, Vec<String>)> {
        let socket = &self.args.files.control.socket;
        let Some(names) = &self.names else {
            return Ok((client::nodes(socket, None)?, Vec::new()));
        };
        let few = (names.len() <= FEW).then_some(names.as_slice());
        let mut page = client::nodes(socket, few)?;
        let folded = |node: NodeActivity| (node.node.to_ascii_lowercase(), node);
        let mut known: std::collections::HashMap<_, _> = page.nodes.drain(..).map(folded).collect();
        let mut absent = Vec::new();
        for name in names {
            match known.remove(&name.to_ascii_lowercase()) {
                Some(node) => page.nodes.push(node),
                None => absent.push(name.clone()),
            }
        }
        Ok((page, absent))
    }
}

/// Parses a time such as 90s, 10m, or 2h 30m.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write 90s, 10m or 2h, say");
    let time: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(time).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_the_settings() {
        assert_eq!(time("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(time("1h 30s"), Ok(Duration::from_secs(3630)));
        assert!(time("10").is_err() && time("-5s").is_err() && time("").is_err());
    }
}
