//! Explains in words which files an address leads to.

use std::fmt;
use std::net::Ipv4Addr;

use proxydhcp_common::wire::is_client;
use serde::{Deserialize, Serialize};

use crate::names::forward::{Names, waiting};
use crate::names::hosts::Hosts;
use crate::names::reverse::LookedUp;
use crate::nodes::cfg::RECORD;
use crate::nodes::cfg::texts;
use crate::nodes::hardware::Id;
use crate::sys::file::FileError;
use crate::sys::xcat::node_set;
use crate::tables::generation::Generation;
use crate::tables::policy::{Offers, Policy, Unknown};
use crate::tables::table::{NotServed, Source, Sources, Table, Traced};
use crate::text::{count, printable};
use crate::winpe::architecture::Architecture;
use crate::winpe::check::fault;
use crate::winpe::path::Rules;

mod outcome;
mod simulate;

use simulate::Machine;

/// The findings about an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// The address; `None` if a name leads to none.
    pub address: Option<Ipv4Addr>,
    /// Whether a request from the address would be answered.
    pub answered: bool,
    /// Whether the client gets an offer when it asks for an address.
    #[serde(default)]
    pub offered: bool,
    /// The node's name in its record.
    pub node: Option<String>,
    /// The record's position in proxydhcp.cfg, from 1.
    pub record: Option<u32>,
    /// The record's first byte in proxydhcp.cfg, from 0.
    pub offset: Option<u64>,
    /// The loader's path on the TFTP server.
    pub loader: Option<String>,
    /// The BCD's path on the TFTP server.
    pub bcd: Option<String>,
    /// The TFTP server, if it is not the address that the client asks.
    pub next_server: Option<Ipv4Addr>,
    /// What keeps the client from booting the WinPE, as far as the TFTP root is on this host.
    #[serde(default)]
    pub fault: Option<String>,
    /// The steps that led to this result, in words.
    pub steps: Vec<String>,
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "{number}. {step}")?;
        }
        f.write_str(match (self.answered, &self.fault) {
            (true, None) => "=> answered",
            (true, Some(_)) => "=> answered, but it will not boot",
            (false, _) => "=> NOT answered",
        })
    }
}

/// A question about a client, and the tables that answer it.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) asked: &'a str,
    pub(crate) arch: Architecture,
    pub(crate) table: &'a Table,
    pub(crate) names: &'a Names,
    pub(crate) looked_up: &'a LookedUp,
    pub(crate) generation: &'a Generation,
    pub(crate) policy: &'a Policy,
    pub(crate) sources: &'a Sources,
    /// The hosts file as it is now, if it exists.
    pub(crate) hosts: &'a Result<Option<Vec<u8>>, FileError>,
    /// This host's own addresses.
    pub(crate) local: &'a [Ipv4Addr],
    /// Why the newest file is not in service, if it is not.
    pub(crate) rejected: Option<&'a str>,
    /// The number of names that clients without a record wait for.
    pub(crate) waited_for: usize,
    /// Which offers are made, if any are.
    pub(crate) offers: Option<Offers>,
}

/// Explains an address, or each address of a name.
pub(crate) fn explain(question: &Question<'_>) -> Vec<Looked> {
    let mut first = Looked::default();
    if let Some(rejected) = question.rejected {
        first
            .steps
            .push(format!("The newest files are NOT in service: {rejected}"));
    }
    if let Ok(address) = question.asked.parse() {
        question.address(address, &mut first);
        return vec![first];
    }
    let asked = question.asked;
    let found = question
        .table
        .addresses_of(asked, question.names, question.looked_up);
    let Some((record, addresses)) = found else {
        if let Some(id) = Id::parse(asked) {
            question.id(id, &mut first);
            return vec![first];
        }
        let config = question.sources.config.display();
        first.steps.push(match question.refused(asked) {
            Some(refused) => format!("The record of {asked} in {config} is refused: {refused}"),
            None => format!(
                "{config} has no record of {asked}; run {} for it, and reload",
                node_set()
            ),
        });
        return vec![first];
    };
    if addresses.is_empty() {
        let known = question.table.hardware_of(record.name);
        question.record(&record, &mut first);
        let no_address = question.no_address(record.name, !known.is_empty());
        first.steps.push(no_address);
        if let Some(&id) = known.first() {
            question.verdict(Machine::known_by(id, question.table), &mut first);
        }
        return vec![first];
    }
    let looked = addresses.into_iter().map(|address| {
        let mut looked = first.clone();
        looked
            .steps
            .push(format!("{asked} has the address {address}."));
        question.address(address, &mut looked);
        if looked.node.as_deref() != Some(record.name) {
            looked.answered = false;
        }
        looked
    });
    looked.collect()
}

impl Question<'_> {
    fn address(&self, address: Ipv4Addr, looked: &mut Looked) {
        looked.address = Some(address);
        if !is_client(address.octets()) {
            looked.steps.push(format!(
                "{address} is not an address that a client can have; requests from it are refused."
            ));
            return;
        }
        if self.local.contains(&address) {
            looked.steps.push(format!(
                "{address} is an address of this host itself, and is not served; correct the hosts \
                 file or the DNS if a node is said to have it."
            ));
        }
        match self.table.trace(address, self.names, self.looked_up) {
            Some(record) => {
                looked.steps.push(self.source(address, &record));
                self.record(&record, looked);
            }
            None => self.unknown(address, looked),
        }
        let node = looked.node.as_deref().unwrap_or_default();
        let ids = self.table.hardware_of(node);
        let mac = ids.iter().find(|id| matches!(id, Id::Mac(_)));
        let machine = match mac.or(ids.first()) {
            Some(&id) => Machine::known_by(id, self.table),
            None => Machine::unknown(self.table),
        };
        self.verdict(machine.at(address), looked);
    }

    /// Explains a hardware address or UUID.
    fn id(&self, id: Id, looked: &mut Looked) {
        let Some(record) = self.table.trace_id(id) else {
            looked.steps.push(format!(
                "No node is known by {id}; run `proxydhcp node set NAME mac=...` or uuid=... for it, \
                 and reload. Until then, it is known by its IPv4 address alone."
            ));
            if let Some(&server) = self.local.first() {
                self.offered(&Machine::known_by(id, self.table), server, looked);
            }
            return;
        };
        let name = record.name;
        looked.steps.push(format!("{id} is {name}."));
        self.record(&record, looked);
        self.verdict(Machine::known_by(id, self.table), looked);
    }

    fn source(&self, address: Ipv4Addr, record: &Traced<'_>) -> String {
        let name = record.name;
        match record.source {
            Source::Hosts(line) => format!(
                "{address} is {name}, by line {line} of {}.",
                self.sources.hosts.display()
            ),
            Source::Own => format!(
                "{address} is {name}, by {}.",
                texts::hosts(&self.sources.config).display()
            ),
            Source::Resolver => format!(
                "{address} is {name}, by the system resolver: {} does not name {name}.",
                self.sources.hosts.display()
            ),
            Source::Client(client) => format!(
                "{address} is {client} by the system resolver, which was asked when the client \
                 came; that leads to {name}."
            ),
        }
    }

    fn record(&self, record: &Traced<'_>, looked: &mut Looked) {
        let offset = u64::from(record.number).saturating_sub(1) * RECORD as u64;
        looked.node = Some(record.name.to_owned());
        let (name, config) = (record.name, self.sources.config.display());
        if record.number == 0 {
            looked
                .steps
                .push(format!("{name} has no record in {config}."));
        } else {
            looked.record = Some(record.number);
            looked.offset = Some(offset);
            let number = record.number;
            let step = format!("{name} is record {number} of {config}, at byte {offset}.");
            looked.steps.push(step);
        }
        let known = self.table.hardware_of(name);
        if !known.is_empty() {
            let known: Vec<_> = known.iter().map(ToString::to_string).collect();
            looked.steps.push(format!(
                "{name} is also known by {}. A request from one of its addresses with another node's \
                 hardware address is not answered.",
                known.join(", ")
            ));
        }
        let root = self.sources.tftp_root.display();
        looked.steps.push(match record.winpe {
            Err(NotServed::Refused(reason)) => format!("The record is refused: {reason}"),
            Err(NotServed::Disabled) => format!(
                "Its supportproxydhcp is no, so it is ignored; `proxydhcp node set {name} \
                 supportproxydhcp=yes` ends that."
            ),
            Ok(winpe) if winpe.path().is_empty() => {
                format!("Its path is empty: the default WinPE, in {root} itself.")
            }
            Ok(winpe) => format!("Its WinPE is {}, below {root}.", winpe.path()),
        });
        let rules = Rules {
            tftp_root: &self.sources.tftp_root,
            loaders: &self.sources.loaders,
        };
        looked.fault = record.winpe.ok().and_then(|winpe| fault(winpe, rules));
        let fault = looked.fault.iter();
        looked
            .steps
            .extend(fault.map(|fault| format!("That WinPE is not sound: {fault}.")));
    }

    /// Explains why no record has the address, and what becomes of such clients.
    fn unknown(&self, address: Ipv4Addr, looked: &mut Looked) {
        looked.steps.push(self.hosts_line(address));
        let failed = self.names.have_failed().count() + self.names.are_asked().count();
        if failed > 0 {
            looked.steps.push(format!(
                "The system resolver has not answered for {} of records; this address may belong \
                 to one of them.",
                count(failed, "name")
            ));
        }
        let policy = match self.policy.unknown {
            Unknown::Ignore => "Clients without a record get no answer (--unknown ignore).".into(),
            Unknown::Default if self.waited_for > 0 => {
                format!("For now, {} (--unknown default).", waiting(self.waited_for))
            }
            Unknown::Default => {
                "Clients without a record get the default WinPE (--unknown default).".into()
            }
            Unknown::LookupDefault => match self.looked_up.of(address) {
                None => {
                    "The name of its address is looked up when the client asks. If that leads to \
                         no record, its next request gets the default WinPE (--unknown \
                         lookup-default)."
                        .into()
                }
                Some(_) if self.waited_for > 0 => {
                    format!(
                        "For now, {} (--unknown lookup-default).",
                        waiting(self.waited_for)
                    )
                }
                Some(None) => {
                    "It has asked. The system resolver has no name for its address, so it \
                               gets the default WinPE (--unknown lookup-default)."
                        .into()
                }
                Some(Some(name)) => format!(
                    "It has asked. The system resolver says that its name is {name}, which has no \
                     record, so it gets the default WinPE (--unknown lookup-default)."
                ),
            },
            Unknown::Lookup => match self.looked_up.of(address) {
                None => {
                    "The name of its address is looked up when the client asks; its next request \
                         is answered if the name leads to a record (--unknown lookup)."
                        .into()
                }
                Some(None) => "It has asked, and the system resolver has no name for its address \
                               (--unknown lookup)."
                    .into(),
                Some(Some(name)) => format!(
                    "It has asked, and the system resolver says that its name is {name}, which has \
                     no record (--unknown lookup)."
                ),
            },
        };
        looked.steps.push(policy);
    }

    /// What the hosts file says about an address that leads to no record.
    fn hosts_line(&self, address: Ipv4Addr) -> String {
        let shown = self.sources.hosts.display();
        let bytes = match self.hosts {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return format!("No record has {address}, and there is no {shown}."),
            Err(error) => return format!("No record has {address}: {error}"),
        };
        let mut lines = Hosts::new(bytes).filter(|host| host.address == address);
        let Some(line) = lines.next() else {
            return format!(
                "No line of {shown} has {address}, and the system resolver gives it to none of the \
                 records' names; add a line for the node, and reload."
            );
        };
        let names = line.names().map(printable);
        let names: Vec<_> = names.collect();
        format!(
            "Line {} of {shown} has {address} as {}, and {} has no record by such a name, full or \
             short; correct the line, or run {} for the node, and reload.",
            line.line,
            names.join(", "),
            self.sources.config.display(),
            node_set()
        )
    }

    fn no_address(&self, name: &str, is_known_by_hardware: bool) -> String {
        let hosts = self.sources.hosts.display();
        let failed = self.names.failed();
        let failed = failed.iter().find(|failed| failed.name == name);
        let resolver = match failed {
            Some(failed) => format!("could not be asked: {}", failed.reason),
            None => "knows none".to_owned(),
        };
        let so = if is_known_by_hardware {
            "it is known by its hardware alone."
        } else {
            "add it to the hosts file or the DNS, and reload."
        };
        format!(
            "{name} has no address: no line of {hosts} names it, and the system resolver \
             {resolver}; {so}"
        )
    }

    fn refused(&self, name: &str) -> Option<&str> {
        let mut refused = self.table.refused().iter();
        let refused = refused.find(|refused| refused.name.eq_ignore_ascii_case(name))?;
        Some(&refused.reason)
    }
}

#[cfg(test)]
mod tests;
