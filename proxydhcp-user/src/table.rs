//! What is served: each node's address, name and WinPE.
//!
//! A request tells a client's address, so the table is ordered by it. Names lead there: a record
//! of `proxydhcp.cfg` names a node, and the hosts file, or else the system resolver, its addresses.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::{JoinError, spawn_blocking};

use crate::cfg::file::FileError;
use crate::cfg::{self, CfgError, Refused};
use crate::hosts::{self, Hosts, Malformed};
use crate::resolve::{Lookup, resolve};
use crate::winpe::WinPe;

mod changes;
mod join;

pub use changes::{Change, Changes, changes, news};

use join::{Claim, Conflict, Joined};

/// Where a table comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// `proxydhcp.cfg`.
    pub config: PathBuf,
    /// The hosts file, which may be missing.
    pub hosts: PathBuf,
    /// The folder that the TFTP server serves, such as `/tftpboot`.
    pub tftp_root: PathBuf,
    /// How long the system resolver may take for all names that the hosts file lacks; zero: it is
    /// not asked.
    pub resolve_limit: Duration,
}

/// How long a table took to load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Reading, parsing and joining the files.
    pub read: Duration,
    /// Asking the system resolver.
    pub resolve: Duration,
}

/// Why there is no table. Whatever is served so far is better.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// `proxydhcp.cfg` cannot be read or is no such file.
    #[error(transparent)]
    Config(#[from] CfgError),
    /// The hosts file is there, but cannot be read.
    #[error(transparent)]
    Hosts(#[from] FileError),
    /// Records, but none that can be served.
    #[error(
        "{}: not one of its {records} records is sound; record {}: {} \
         (if this is no proxydhcp.cfg at all, check the path)",
        .path.display(), .first.number, .first.reason
    )]
    NotOneSound {
        /// The file.
        path: PathBuf,
        /// How many records its size makes.
        records: usize,
        /// The first that is refused.
        first: Refused,
    },
    /// The program is stopping.
    #[error("loading was interrupted: {0}")]
    Interrupted(#[from] JoinError),
}

impl LoadError {
    /// Whether `proxydhcp.cfg` is just not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Config(CfgError::File(FileError::Missing(_))))
    }
}

/// What is served, and what of its sources is not.
#[derive(Clone, Debug)]
pub struct Table {
    /// All names in a row: a string each would take thrice the memory.
    names: String,
    records: Vec<Record>,
    /// Ordered by address, each address once.
    claims: Vec<Claim>,
    winpes: Vec<WinPe>,
    refused: Vec<Refused>,
    /// The records that no address leads to.
    unresolved: Vec<u32>,
    warnings: Vec<String>,
    records_read: usize,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    /// Where its name ends among the names; it begins where the one before it ends.
    name_end: usize,
    winpe: usize,
}

/// A node that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// Where it asks from. A node may have several addresses.
    pub address: Ipv4Addr,
    /// Its name in `proxydhcp.cfg`.
    pub name: &'a str,
    /// Its WinPE, an index into [`Table::winpes`].
    pub winpe: usize,
}

impl Table {
    /// A table without nodes: every client gets the default WinPE.
    pub fn empty() -> Self {
        Self {
            names: String::new(),
            records: Vec::new(),
            claims: Vec::new(),
            winpes: vec![WinPe::default()],
            refused: Vec::new(),
            unresolved: Vec::new(),
            warnings: Vec::new(),
            records_read: 0,
        }
    }

    /// The same, because there is no `proxydhcp.cfg` yet.
    pub fn without_config(path: &Path) -> Self {
        Self {
            warnings: vec![format!(
                "{}: no such file yet; every client gets the default WinPE until it is written \
                 and reloaded",
                path.display()
            )],
            ..Self::empty()
        }
    }

    /// Loads a table. Files are read on a blocking thread; so are names looked up, and such a
    /// thread may outlive this call by the resolver's own time limit.
    ///
    /// # Errors
    /// See [`LoadError`]. Records and names that are bad by themselves are no error: the table
    /// lists them and has the others.
    pub async fn load(sources: &Sources) -> Result<(Self, Timing), LoadError> {
        let started = Instant::now();
        let files = sources.clone();
        let (mut table, wanted) = spawn_blocking(move || Self::read(&files)).await??;
        let read = started.elapsed();
        if !wanted.is_empty() {
            let names = wanted
                .iter()
                .map(|&record| table.name(record).to_owned())
                .collect();
            let limit = sources.resolve_limit;
            let lookups = resolve(names, limit).await;
            let add = move || {
                table.add(&wanted, &lookups, limit);
                table
            };
            table = spawn_blocking(add).await?;
        }
        Ok((
            table,
            Timing {
                read,
                resolve: started.elapsed().saturating_sub(read),
            },
        ))
    }

    /// The nodes, by rising address.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = Node<'_>> {
        self.claims.iter().map(|&claim| self.node_of(claim))
    }

    /// The node with this address.
    pub fn node(&self, address: Ipv4Addr) -> Option<Node<'_>> {
        let position = self
            .claims
            .binary_search_by_key(&address, |claim| claim.address)
            .ok()?;
        self.claims.get(position).map(|&claim| self.node_of(claim))
    }

    /// Each WinPE once; the first is the default one.
    pub fn winpes(&self) -> &[WinPe] {
        &self.winpes
    }

    /// The records that cannot be served, in the file's order.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// The names of the records that no address leads to, in the file's order.
    pub fn unresolved(&self) -> impl ExactSizeIterator<Item = &str> {
        self.unresolved.iter().map(|&record| self.name(record))
    }

    /// What else an administrator should know: duplicates, conflicts, a missing hosts file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Warns of nodes whose address is one of `local`, this host's own: they cannot be served.
    pub fn warn_of_own(&mut self, local: &[Ipv4Addr]) {
        for &address in local {
            if let Some(Node { name, .. }) = self.node(address) {
                self.warnings.push(format!(
                    "{address}, where {name} is, is an address of this host, and not served; \
                     correct the hosts file or the DNS"
                ));
            }
        }
    }

    /// How many records `proxydhcp.cfg` has, refused ones and duplicates included.
    pub fn records(&self) -> usize {
        self.records_read
    }

    /// Builds the table from the files alone, and lists the records to ask the resolver for.
    fn read(sources: &Sources) -> Result<(Self, Vec<u32>), LoadError> {
        let config = cfg::read(&sources.config)?;
        let records = cfg::parse(&config, &sources.tftp_root);
        let records_read = config.len() / cfg::RECORD;
        if let Some(first) = records.refused.first()
            && !records.padded
        {
            let (path, first) = (sources.config.clone(), first.clone());
            return Err(LoadError::NotOneSound {
                path,
                records: records_read,
                first,
            });
        }

        let file = hosts::read(&sources.hosts)?;
        let mut hosts = Hosts::new(file.as_deref().unwrap_or_default());
        let Joined { claims, named } = join::join(&records, &mut hosts);

        let length = records.records.iter().map(|record| record.name.len()).sum();
        let mut names = String::with_capacity(length);
        let place = |record: &cfg::Record<'_>| {
            names.push_str(record.name);
            Record {
                name_end: names.len(),
                winpe: record.winpe,
            }
        };
        let placed = records.records.iter().map(place).collect();
        let mut table = Self {
            names,
            records: placed,
            claims,
            winpes: records.winpes,
            refused: records.refused,
            unresolved: Vec::new(),
            warnings: records.warnings,
            records_read,
        };
        let path = sources.hosts.display();
        if file.is_none() {
            table.warnings.push(format!(
                "{path}: no such file; the system resolver is asked for every node"
            ));
        }
        if let Some(Malformed { count, first }) = hosts.malformed() {
            table.warnings.push(format!(
                "{path}: malformed lines are left out: {count}, the first is line {first}; \
                 each line is to be an address and its names"
            ));
        }
        table.settle();
        let wanted = (0..)
            .zip(named)
            .filter(|&(_, named)| !named)
            .map(|(record, _)| record);
        Ok((table, wanted.collect()))
    }

    /// Adds what the resolver answered for the records `wanted`.
    fn add(&mut self, wanted: &[u32], lookups: &[Lookup], limit: Duration) {
        let mut late = 0;
        for (&record, lookup) in wanted.iter().zip(lookups) {
            match lookup {
                Lookup::Found(addresses) => {
                    self.claims
                        .extend(addresses.iter().map(|&address| Claim { address, record }));
                }
                Lookup::Unknown => {}
                Lookup::OutOfTime => late += 1,
            }
        }
        if late > 0 && !limit.is_zero() {
            self.warnings.push(format!(
                "the system resolver had no answer for {late} names within {limit:?}; \
                 check the DNS, or add them to the hosts file"
            ));
        }
        self.settle();
    }

    /// Leaves each address to the first that claims it, and finds out which records have none.
    fn settle(&mut self) {
        let conflicts = join::settle(&mut self.claims);
        for Conflict {
            address,
            served,
            other,
        } in conflicts
        {
            let (served, other) = (self.name(served), self.name(other));
            self.warnings.push(format!(
                "{address} is an address of both {served} and {other}; {served}, which was found \
                 first, is served there: correct the hosts file or the DNS"
            ));
        }
        let mut reachable = vec![false; self.records.len()];
        for claim in &self.claims {
            if let Some(reachable) = reachable.get_mut(claim.record as usize) {
                *reachable = true;
            }
        }
        let without = (0..).zip(reachable).filter(|&(_, reachable)| !reachable);
        self.unresolved = without.map(|(record, _)| record).collect();
    }

    fn node_of(&self, claim: Claim) -> Node<'_> {
        let winpe = self
            .records
            .get(claim.record as usize)
            .map_or(0, |record| record.winpe);
        Node {
            address: claim.address,
            name: self.name(claim.record),
            winpe,
        }
    }

    fn name(&self, record: u32) -> &str {
        let record = record as usize;
        let end_of = |record: usize| self.records.get(record).map(|record| record.name_end);
        let start = record.checked_sub(1).and_then(end_of).unwrap_or_default();
        let end = end_of(record).unwrap_or_default();
        self.names.get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
