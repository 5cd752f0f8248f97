//! A generation of the tables: everything that requests are judged by and answered from. It is
//! built once, checked, and then installed as a whole.

use std::net::Ipv4Addr;
use std::sync::Arc;

use proxydhcp_common::judge::Tables;
use proxydhcp_common::nodes::{Header, LOADERS, Line, LoaderNumbers, Nodes, Target, flags};
use proxydhcp_common::template::{Loader, Template};
use proxydhcp_common::vendor_class::VendorClass;

use crate::nodes::hardware::Id;
use crate::sys::random;
use crate::tables::followed::Followed;
use crate::tables::policy::{Policy, ReplyFormat, Unknown};
use crate::tables::table::Table;
use crate::tables::template::{self, TemplateError};
use crate::winpe::loaders::MAX_PATHS;

mod fill;
mod hardware;

use fill::{Filled, fill};
use hardware::Numbers;

/// The tables in the layout that the protocol core reads, in user space and in the kernel.
#[derive(Debug, Default)]
pub struct Generation {
    /// The number of tables installed since the start; 0 is the empty generation before them.
    pub number: u64,
    bank: u32,
    lines: Vec<Line>,
    left_out: Vec<Ipv4Addr>,
    left_out_hardware: Vec<Id>,
    templates: Vec<Template>,
    vendor_classes: Vec<VendorClass>,
    has_nodes: bool,
    followed: Arc<Followed>,
}

impl Generation {
    /// Builds the generation that follows `previous` from `table`, on a host with the addresses
    /// `local`. A node with an address of the host itself is left out.
    ///
    /// # Errors
    ///
    /// If a reply cannot be encoded.
    pub fn next(
        previous: &Self,
        table: &Table,
        local: &[Ipv4Addr],
        policy: &Policy,
    ) -> Result<Self, TemplateError> {
        Self::following(previous, table, local, policy, &Arc::default())
    }

    /// The same, whose nodes are `followed`, if the numbers of nodes and WinPEs fit into the node table.
    ///
    /// # Errors
    ///
    /// If a reply cannot be encoded.
    pub fn following(
        previous: &Self,
        table: &Table,
        local: &[Ipv4Addr],
        policy: &Policy,
        followed: &Arc<Followed>,
    ) -> Result<Self, TemplateError> {
        let mut templates = Vec::new();
        for winpe in table.winpes() {
            templates.extend(template::encode(winpe, policy)?);
        }
        let bank = 1 - previous.bank;
        let node = |winpe: usize| {
            // A table never has more records than this.
            Target::node(u32::try_from(winpe).unwrap_or(Target::MAX_WINPE), bank)
        };
        let numbers = Numbers::of(table, followed);
        let hardware = hardware::fill(table, &numbers, node, random::number);
        let denied = match policy.unknown {
            // They are refused like all other clients, unless those have a node's hardware address.
            Unknown::Ignore if table.hardware().len() == 0 => &[],
            Unknown::Ignore | Unknown::Default | Unknown::Lookup | Unknown::LookupDefault => {
                table.denied()
            }
        };
        let strangers = match policy.unknown {
            Unknown::LookupDefault => table.strangers(),
            Unknown::Ignore | Unknown::Default | Unknown::Lookup => &[],
        };
        let entries = || {
            let local = local.iter().map(|&address| (address, Target::HOST));
            let nodes = table
                .nodes()
                .map(|n| (n.address, numbers.address(node(n.winpe), n.record)));
            let denied = denied.iter().map(|&address| (address, Target::DENIED));
            let strangers = strangers.iter().map(|&address| (address, node(0)));
            local.chain(nodes).chain(denied).chain(strangers)
        };
        let unknown = match policy.unknown {
            Unknown::Ignore => None,
            Unknown::Default => Some(node(0)),
            Unknown::Lookup | Unknown::LookupDefault => Some(Target::ASK),
        };
        let mut header = header(unknown, policy);
        header.host = local.first().map_or([0; 4], Ipv4Addr::octets);
        header.flags |= flag(numbers.follows(), flags::FOLLOWS);
        hardware.describe(&mut header);
        let Filled {
            mut lines,
            left_out,
        } = fill(header, entries, random::number);
        let left_out_hardware = hardware.append_to(&mut lines);
        Ok(Self {
            number: previous.number + 1,
            bank,
            lines,
            left_out,
            left_out_hardware,
            templates,
            vendor_classes: policy.vendor_classes.clone(),
            has_nodes: table.served() > 0,
            followed: if numbers.follows() {
                Arc::clone(followed)
            } else {
                Arc::default()
            },
        })
    }

    /// The node table, header first.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The addresses that the node table has no place for. The caller removes them from the table
    /// that this was built from.
    pub(crate) fn left_out(&self) -> &[Ipv4Addr] {
        &self.left_out
    }

    /// The hardware addresses that the node table has no place for.
    pub(crate) fn left_out_hardware(&self) -> &[Id] {
        &self.left_out_hardware
    }

    /// The templates.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// Whether any node is served.
    pub(crate) fn has_nodes(&self) -> bool {
        self.has_nodes
    }

    /// The nodes of which it is noted what they do.
    pub(crate) fn followed(&self) -> &Arc<Followed> {
        &self.followed
    }

    /// The number of the node whose record belongs to this address: see
    /// [`Nodes::number`](proxydhcp_common::nodes::Nodes::number).
    pub(crate) fn number_of(&self, address: Ipv4Addr) -> u32 {
        let nodes = Nodes::open(&self.lines[..]);
        nodes.map_or(0, |nodes| nodes.number_of(address.octets()))
    }

    /// The bank that the templates belong to.
    pub fn bank(&self) -> u32 {
        self.bank
    }
}

impl Tables for Generation {
    type Lines = [Line];

    fn nodes(&self) -> Option<&[Line]> {
        Some(&self.lines)
    }

    fn template(&self, _bank: u32, number: u32) -> Option<&Template> {
        self.templates.get(usize::try_from(number).ok()?)
    }

    fn vendor_classes(&self) -> &[VendorClass] {
        &self.vendor_classes
    }
}

/// A flag of the header, if it holds.
fn flag(holds: bool, flag: u8) -> u8 {
    if holds { flag } else { 0 }
}

/// The part of the table that all nodes share; masks and seeds are set when the table is filled.
fn header(unknown: Option<Target>, policy: &Policy) -> Header {
    const _: () = assert!(MAX_PATHS <= LOADERS);
    let mut loaders = LoaderNumbers::default();
    for (architecture, index) in policy.loaders.indexes().iter().enumerate() {
        if let Some(index) = index {
            loaders.set(architecture, Loader(*index));
        }
    }
    Header {
        mask: 0,
        unknown: unknown.map_or(0, Target::stored),
        seed: 0,
        loaders,
        // There are only a few loaders.
        loader_count: u8::try_from(policy.loaders.paths().len()).unwrap_or(u8::MAX),
        flags: flag(policy.reply_format == ReplyFormat::Pxe, flags::ECHOES)
            | flag(!policy.vendor_classes.is_empty(), flags::OTHER_CLASSES),
        interval: policy.limit.interval,
        whole: policy.limit.whole,
        winpe_bits: Target::BITS,
        hardware_bits: 0,
        reserved: [0; 2],
        host: [0; 4],
        hardware_seed: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_local(lines: &[Line], address: [u8; 4]) -> bool {
        Nodes::open(lines).unwrap().is_local(address)
    }

    fn node(lines: &[Line], address: [u8; 4]) -> Option<Target> {
        Nodes::open(lines).unwrap().client(address).node()
    }

    use crate::tables::table::tests::table;

    #[test]
    fn an_empty_generation_knows_nobody() {
        let first = Generation::next(
            &Generation::default(),
            &Table::empty(),
            &[Ipv4Addr::new(10, 0, 0, 1)],
            &Policy::default(),
        )
        .unwrap();
        assert_eq!((first.number, first.bank), (1, 1));
        assert!(is_local(first.lines(), [10, 0, 0, 1]));
        assert!(!is_local(first.lines(), [10, 0, 0, 2]));
        assert_eq!(node(first.lines(), [10, 0, 0, 2]), None);
        // The host itself is not its own client.
        assert_eq!(node(first.lines(), [10, 0, 0, 1]), None);
    }

    #[test]
    fn unknown_clients_get_the_default_where_that_is_the_policy() {
        let policy = Policy {
            unknown: Unknown::Default,
            ..Policy::default()
        };
        let first =
            Generation::next(&Generation::default(), &Table::empty(), &[], &policy).unwrap();
        let target = node(first.lines(), [10, 0, 0, 2]).unwrap();
        assert_eq!((target.winpe(Target::BITS), target.bank()), (0, 1));
        assert_eq!(first.templates().len(), 4);
        let second = Generation::next(&first, &Table::empty(), &[], &policy).unwrap();
        assert_eq!((second.number, second.bank), (2, 0));
    }

    #[test]
    fn who_is_to_be_looked_up_or_denied_is_no_node() {
        let table = table(&[("bad", ".."), ("a", "")], "10.0.0.2 a\n10.0.0.3 bad");
        for (unknown, stranger, looked_up) in [
            (Unknown::Ignore, None, false),
            (Unknown::Default, Some(Target::node(0, 1)), false),
            (Unknown::Lookup, None, true),
        ] {
            let policy = Policy {
                unknown,
                ..Policy::default()
            };
            let first = Generation::next(&Generation::default(), &table, &[], &policy).unwrap();
            let target = |last| node(first.lines(), [10, 0, 0, last]);
            assert_eq!((target(2), target(9)), (Some(Target::node(0, 1)), stranger));
            assert_eq!(target(3), None);
            let nodes = Nodes::open(first.lines()).unwrap();
            let is_looked_up = |last| nodes.client([10, 0, 0, last]).is_to_be_looked_up();
            assert_eq!([2, 3, 9].map(is_looked_up), [false, false, looked_up]);
            assert!(!is_local(first.lines(), [10, 0, 0, 3]));
        }
    }
}
