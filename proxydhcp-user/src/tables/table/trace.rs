//! Traces how an address came to its record, to explain it.

use std::net::Ipv4Addr;

use super::join::OWN;
use super::{Table, position};
use crate::names::forward::Names;
use crate::names::reverse::LookedUp;
use crate::nodes::hardware::Id;
use crate::winpe::path::WinPe;

/// The source that assigns an address to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A line of the hosts file, from 1.
    Hosts(u32),
    /// The node itself, whatever the hosts file says: the file of addresses beside `proxydhcp.cfg`.
    Own,
    /// The resolver, asked for the addresses of the record's name.
    Resolver,
    /// The resolver, asked for the name of a client's address, gave this name.
    Client(&'a str),
}

/// Why a record is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotServed<'a> {
    /// The record is refused, for this reason.
    Refused(&'a str),
    /// The node is disabled by supportproxydhcp=no, with a sound record or without any.
    Disabled,
}

/// A record that an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced<'a> {
    /// The source of this assignment.
    pub source: Source<'a>,
    /// The node's name in the record.
    pub name: &'a str,
    /// The record's position in the file, from 1; 0 for a disabled node without one.
    pub number: u32,
    /// The WinPE, or why none is served.
    pub winpe: Result<&'a WinPe, NotServed<'a>>,
}

impl Table {
    /// The record that the address leads to, even a refused one. An address belongs to the first
    /// claim on it, as in [`Table::new`].
    pub fn trace<'a>(
        &'a self,
        address: Ipv4Addr,
        names: &Names,
        looked_up: &'a LookedUp,
    ) -> Option<Traced<'a>> {
        let files = &self.files;
        let hosts = || {
            let claim = files
                .register
                .claims
                .get(position(&files.register.claims, address).ok()?)?;
            let source = match claim.line {
                OWN => Source::Own,
                line => Source::Hosts(line),
            };
            Some((claim.record, source))
        };
        let resolver = || {
            let mut wanted = files.wanted_records();
            let (record, _) = wanted.find(|(_, name)| names.addresses(name).contains(&address))?;
            Some((record, Source::Resolver))
        };
        let client = || {
            let name = looked_up.of(address)??;
            Some((files.register.by_any_name(name)?, Source::Client(name)))
        };
        let (record, source) = hosts().or_else(resolver).or_else(client)?;
        Some(self.traced(record, source))
    }

    /// The record that a hardware address or UUID leads to, even a refused one.
    pub fn trace_id(&self, id: Id) -> Option<Traced<'_>> {
        let record = self.files.register.by_hardware(id)?;
        Some(self.traced(record, Source::Resolver))
    }

    /// The addresses of the node that a name leads to, whether full, short or of another interface,
    /// with the node's name in the record; `None` if there is no such record.
    pub fn addresses_of(
        &self,
        name: &str,
        names: &Names,
        looked_up: &LookedUp,
    ) -> Option<(Traced<'_>, Vec<Ipv4Addr>)> {
        let files = &self.files;
        let record = files.register.by_any_name(name)?;
        let of_record = files
            .register
            .claims
            .iter()
            .filter(|claim| claim.record == record);
        let mut addresses: Vec<_> = of_record.map(|claim| claim.address).collect();
        addresses.extend(names.addresses(files.name(record)));
        let clients = looked_up.named();
        let clients = clients.filter(|(_, name)| files.register.by_any_name(name) == Some(record));
        addresses.extend(clients.map(|(address, _)| address));
        addresses.sort_unstable();
        addresses.dedup();
        Some((self.traced(record, Source::Resolver), addresses))
    }

    fn traced<'a>(&'a self, record: u32, source: Source<'a>) -> Traced<'a> {
        let files = &self.files;
        let number = files.number(record);
        let refused = || {
            let mut refused = files.register.refused.iter();
            let refused = refused.find(|refused| Some(refused.number) == number);
            refused.map_or(NotServed::Disabled, |refused| {
                NotServed::Refused(&refused.reason)
            })
        };
        let winpe = files
            .winpe(record)
            .and_then(|winpe| files.winpes.get(winpe));
        Traced {
            source,
            name: files.name(record),
            number: number.unwrap_or_default(),
            winpe: winpe.ok_or_else(refused),
        }
    }
}
