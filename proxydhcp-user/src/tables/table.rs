//! The table of what is served: each node's address, name and WinPE.
//!
//! A request contains a client's address, so the table is sorted by it. Addresses are found through
//! names: a record of `proxydhcp.cfg` names a node, and the node's addresses come from the hosts
//! file, else from the system resolver, else from the name of a client that has asked, in this
//! order.

use std::collections::{BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use proxydhcp_common::nodes::Hardware;

use crate::names::forward::Names;
use crate::names::reverse::LookedUp;
use crate::nodes::cfg::{Refused, Warning};
use crate::nodes::hardware::Id;
use crate::tables::policy::Offers;
use crate::text::Few;
use crate::winpe::path::WinPe;

mod boots;
mod changes;
mod compare;
mod files;
mod hardware;
mod join;
mod loss;
mod register;
mod trace;

pub use changes::{Changes, changes, news};
pub use compare::Change;
pub use files::{Files, LoadError, Sources};
pub use loss::Loss;
pub use trace::{NotServed, Source, Traced};

use join::Claim;
pub(crate) use join::mentioned;

/// The most addresses of one name that are taken from the resolver, so that whoever answers for a
/// name cannot fill the table with it.
const MOST_ADDRESSES: usize = 64;

/// The nodes served, and the records and names that are not.
#[derive(Clone, Debug)]
pub struct Table {
    files: Arc<Files>,
    /// Sorted by address, each address once. All their records are sound. Mostly these are those of the hosts
    /// file, which are there once.
    claims: Arc<Vec<Claim>>,
    /// The addresses of nodes whose record is refused, and of disabled nodes.
    denied: Vec<Ipv4Addr>,
    /// The clients that turned out to have no record, if they are served.
    strangers: Vec<Ipv4Addr>,
    /// The sound records without an address.
    unresolved: Vec<u32>,
    /// The number of nodes that have no address, and are known by their hardware addresses.
    by_hardware_alone: usize,
    warnings: Vec<Warning>,
}

/// A node in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// The address that it asks from. A node may have several.
    pub address: Ipv4Addr,
    /// Its name in `proxydhcp.cfg`.
    pub name: &'a str,
    /// Its WinPE, an index into [`Table::winpes`].
    pub winpe: usize,
    /// The position of its record among all.
    pub record: u32,
}

/// What a node is known by besides its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// The hardware address or UUID.
    pub id: Id,
    /// The node's name in `proxydhcp.cfg`.
    pub name: &'a str,
    /// Its WinPE, an index into [`Table::winpes`]; `None` if it gets no answer.
    pub winpe: Option<usize>,
    /// The position of its record among all.
    pub record: u32,
}

impl Table {
    /// A table without nodes. Its only WinPE is the default one.
    pub fn empty() -> Self {
        Self::of_files(Arc::new(Files::none()))
    }

    /// The table that the files alone produce.
    pub fn of_files(files: Arc<Files>) -> Self {
        Self::new(files, &Names::default(), &LookedUp::default())
    }

    /// The table of the files, with the addresses that the resolver has for names that the hosts
    /// file lacks, and with the clients that were looked up. An address belongs to the first of
    /// these that claims it.
    pub fn new(files: Arc<Files>, names: &Names, looked_up: &LookedUp) -> Self {
        let mut claims = Arc::clone(&files.register.claims);
        let mut warnings = files.register.warnings.clone();
        let mut resolved = Vec::new();
        for (record, name) in files.wanted_records() {
            let number = names.addresses(name).len();
            warnings.extend(too_many(number, name, files.number(record)));
            let addresses = names.claims(name).take(MOST_ADDRESSES);
            resolved.extend(addresses.map(|(address, since)| {
                let line = 0;
                (
                    since,
                    Claim {
                        address,
                        record,
                        line,
                    },
                )
            }));
        }
        // The name that had an address first keeps it.
        resolved.sort_by_key(|(since, _)| *since);
        let resolved = resolved.into_iter().map(|(_, claim)| claim).collect();
        warnings.extend(files.register.enter(&mut claims, resolved));
        // A client that asked before its address had a record is not a conflict.
        let news = looked_up
            .named()
            .filter(|(address, _)| position(&claims, *address).is_err())
            .filter_map(|(address, name)| {
                let record = files.register.by_any_name(name)?;
                Some(Claim {
                    address,
                    record,
                    line: 0,
                })
            })
            .collect();
        warnings.extend(files.register.enter(&mut claims, news));

        let mut strangers = looked_up.strangers();
        strangers.retain(|address| position(&claims, *address).is_err());

        let mut reachable = vec![false; files.len()];
        let records = claims.iter().map(|claim| claim.record);
        for record in records.chain(files.register.hardware.iter().map(|claim| claim.record)) {
            if let Some(reachable) = reachable.get_mut(record as usize) {
                *reachable = true;
            }
        }
        let without = (0..).zip(reachable).filter(|&(_, reachable)| !reachable);
        let is_sound = |record: u32| files.winpe(record).is_some();
        let unresolved = without
            .map(|(record, _)| record)
            .filter(|&record| is_sound(record))
            .collect();
        let mut denied = Vec::new();
        if !claims.iter().all(|claim| is_sound(claim.record)) {
            Arc::make_mut(&mut claims).retain(|claim| {
                let sound = is_sound(claim.record);
                if !sound {
                    denied.push(claim.address);
                }
                sound
            });
        }
        let mut table = Self {
            files,
            claims,
            denied,
            strangers,
            unresolved,
            by_hardware_alone: 0,
            warnings,
        };
        table.count_by_hardware();
        table
    }

    /// The files that the table is made from.
    pub fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// The number of different nodes in `proxydhcp.cfg`, and of disabled ones.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of all of them, by the position of their records.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let all = (0_u32..).take(self.files.len());
        all.map(|record| self.files.name(record))
    }

    /// The name of the node with this record, and its WinPE; `None` if it is not to be served.
    pub fn of_record(&self, record: u32) -> Option<(&str, &WinPe)> {
        let winpe = self.files.winpes.get(self.files.winpe(record)?)?;
        Some((self.files.name(record), winpe))
    }

    /// The record of the node with exactly this name, in whatever case.
    pub fn record(&self, name: &str) -> Option<u32> {
        self.files.record(name)
    }

    /// The nodes, by ascending address.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = Node<'_>> {
        self.claims.iter().map(|&claim| self.node_of(claim))
    }

    /// What nodes are known by besides their addresses, each once, in the order of the files.
    pub fn hardware(&self) -> impl ExactSizeIterator<Item = Known<'_>> {
        self.files.register.hardware.iter().map(|claim| Known {
            id: claim.id,
            name: self.files.name(claim.record),
            winpe: self.files.winpe(claim.record),
            record: claim.record,
        })
    }

    /// The names of the nodes that are answered by their hardware addresses, whatever address they have.
    pub(crate) fn known_by_hardware(&self) -> HashSet<&str> {
        let answered = self.hardware().filter(|known| known.winpe.is_some());
        answered.map(|known| known.name).collect()
    }

    /// What the node with this name is known by besides its addresses.
    pub fn hardware_of(&self, name: &str) -> Vec<Id> {
        let known = self
            .hardware()
            .filter(|known| known.name.eq_ignore_ascii_case(name));
        known.map(|known| known.id).collect()
    }

    /// The node, even if it gets no answer, whose machine sends this.
    pub fn sent_by(&self, sent: Hardware) -> Option<Known<'_>> {
        self.hardware()
            .find(|known| known.id.sent().any(|it| it == sent))
    }

    /// The name of the node that is known by this, even if it gets no answer.
    pub fn known_by(&self, id: Id) -> Option<&str> {
        Some(self.files.name(self.files.register.by_hardware(id)?))
    }

    /// The number of addresses served, and of nodes that are known by their hardware addresses alone.
    pub fn served(&self) -> usize {
        self.claims.len() + self.by_hardware_alone
    }

    /// Counts the nodes that have no address, and are known by their hardware addresses.
    fn count_by_hardware(&mut self) {
        let mut is_counted = vec![false; self.files.len()];
        for claim in self.claims.iter() {
            if let Some(is_counted) = is_counted.get_mut(claim.record as usize) {
                *is_counted = true;
            }
        }
        let mut alone = 0;
        for claim in &self.files.register.hardware {
            if let Some(is_counted) = is_counted.get_mut(claim.record as usize)
                && !*is_counted
                && self.files.winpe(claim.record).is_some()
            {
                (*is_counted, alone) = (true, alone + 1);
            }
        }
        self.by_hardware_alone = alone;
    }

    /// The node with this address.
    pub fn node(&self, address: Ipv4Addr) -> Option<Node<'_>> {
        let position = position(&self.claims, address).ok()?;
        self.claims.get(position).map(|&claim| self.node_of(claim))
    }

    /// Whether clients see no difference between this table and another of the same files.
    pub fn serves_as(&self, other: &Self) -> bool {
        self.claims == other.claims
            && self.denied == other.denied
            && self.strangers == other.strangers
    }

    /// This table, with the nodes of another table of the same files.
    #[must_use]
    pub fn with_nodes_of(self, other: &Self) -> Self {
        Self {
            claims: Arc::clone(&other.claims),
            denied: other.denied.clone(),
            unresolved: other.unresolved.clone(),
            by_hardware_alone: other.by_hardware_alone,
            ..self
        }
    }

    /// The addresses of nodes whose record is refused, and of disabled nodes. They get no answer,
    /// whatever other clients get.
    pub fn denied(&self) -> &[Ipv4Addr] {
        &self.denied
    }

    /// The clients that turned out to have no record, if these are served.
    pub fn strangers(&self) -> &[Ipv4Addr] {
        &self.strangers
    }

    /// Each WinPE once; the first is the default one.
    pub fn winpes(&self) -> &[WinPe] {
        &self.files.winpes
    }

    /// The nodes that have the WinPE at this path.
    pub(crate) fn users(&self, path: &str) -> Few<String> {
        let mut users = self.nodes().filter(|node| {
            let winpe = self.files.winpes.get(node.winpe);
            winpe.is_some_and(|winpe| winpe.path() == path)
        });
        let names: BTreeSet<_> = users.by_ref().map(|node| node.name).collect();
        Few::of(names.into_iter().map(str::to_owned))
    }

    /// The records that cannot be served, in the file's order.
    pub fn refused(&self) -> &[Refused] {
        &self.files.register.refused
    }

    /// The names of the sound records without an address, in the file's order.
    pub fn unresolved(&self) -> impl ExactSizeIterator<Item = &str> {
        self.unresolved
            .iter()
            .map(|&record| self.files.name(record))
    }

    /// The positions of the sound records without an address in the file, from 1.
    pub fn unresolved_numbers(&self) -> impl ExactSizeIterator<Item = u32> {
        self.unresolved
            .iter()
            .map(|&record| self.files.number(record).unwrap_or_default())
    }

    /// Anything else an administrator should know: duplicates, conflicts, a missing hosts file.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Adds a warning if `offers` are to be made to nodes alone, and none is known by its hardware.
    pub fn warn_of_offers(&mut self, offers: Option<Offers>) {
        if offers.is_some_and(|offers| !offers.to_all) && self.hardware().len() == 0 {
            let text = "offers: no node gets one, because none is known by its hardware address; run \
                        `proxydhcp node set NAME mac=...`, or name a file by --ethers";
            self.warnings.push(text.to_owned().into());
        }
    }

    /// Adds a warning for each node that has one of this host's own addresses, `local`: it cannot
    /// be served.
    pub fn warn_of_own(&mut self, local: &[Ipv4Addr]) {
        for &address in local {
            if let Some(Node { name, .. }) = self.node(address) {
                let text = format!(
                    "{address}, where {name} is, is an address of this host, and not served; \
                     correct the hosts file or the DNS"
                );
                self.warnings.push(text.into());
            }
        }
    }

    /// Warns of hardware addresses that have no place in the node table.
    pub(crate) fn leave_out_hardware(&mut self, ids: &[Id]) {
        for &id in ids {
            let of = self.known_by(id).unwrap_or("no node");
            let text = format!(
                "{id} ({of}) found no place in the node table, and its node is not known by it; \
                 `proxydhcp reload` builds another table"
            );
            self.warnings.push(text.into());
        }
    }

    /// Removes addresses that have no place in the node table, and warns of each.
    pub(crate) fn leave_out(&mut self, addresses: &[Ipv4Addr]) {
        for &address in addresses {
            let claim = position(&self.claims, address).ok();
            let claim = claim.map(|position| Arc::make_mut(&mut self.claims).remove(position));
            let record = claim.and_then(|claim| self.files.number(claim.record));
            let of = claim.map_or("no node", |claim| self.files.name(claim.record));
            let text = format!(
                "{address} ({of}) found no place in the node table, because too many addresses collide \
                 there, and is not served; `proxydhcp reload` builds another table"
            );
            self.warnings.push(Warning { record, text });
        }
        self.count_by_hardware();
    }

    /// The number of records in `proxydhcp.cfg`, including refused ones and duplicates.
    pub fn records(&self) -> usize {
        self.files.register.records_read
    }

    fn node_of(&self, claim: Claim) -> Node<'_> {
        Node {
            address: claim.address,
            name: self.files.name(claim.record),
            winpe: self.files.winpe(claim.record).unwrap_or_default(),
            record: claim.record,
        }
    }
}

/// The warning that a name has so many addresses that not all are taken.
fn too_many(count: usize, name: &str, record: Option<u32>) -> Option<Warning> {
    (count > MOST_ADDRESSES).then(|| Warning {
        record,
        text: format!(
            "the system resolver has {count} addresses for {name}, and {MOST_ADDRESSES} are the limit; \
             the lowest are served, the others are not: correct the DNS, or put the node's own into \
             the hosts file"
        ),
    })
}

/// The position of the address among the claims.
fn position(claims: &[Claim], address: Ipv4Addr) -> Result<usize, usize> {
    claims.binary_search_by_key(&address, |claim| claim.address)
}

#[cfg(test)]
pub(crate) mod tests;
