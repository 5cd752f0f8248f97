//! A generation of the tables: everything that requests are judged by and answered from. It is
//! built once, checked, and then installed as a whole.

use std::net::Ipv4Addr;

use proxydhcp_common::hash::hash;
use proxydhcp_common::judge::Tables;
use proxydhcp_common::nodes::{ARCHITECTURES, Header, Line, PROBES, SLOTS, Target};
use proxydhcp_common::template::Template;

use crate::tables::policy::{Policy, ReplyFormat, Unknown};
use crate::tables::table::Table;
use crate::tables::template::{self, TemplateError};

/// The tables in the layout that the protocol core reads, in user space and in the kernel.
#[derive(Debug, Default)]
pub struct Generation {
    /// The number of tables installed since the start; 0 is the empty generation before them.
    pub number: u64,
    bank: u32,
    lines: Vec<Line>,
    templates: Vec<Template>,
    has_nodes: bool,
}

impl Generation {
    /// Builds the generation that follows `previous` from `table`, on a host with the addresses
    /// `local`. A node with an address of the host itself is left out.
    ///
    /// # Errors
    ///
    /// If a reply cannot be encoded.
    /// If a reply cannot be encoded.
    pub fn next(
        previous: &Self,
        table: &Table,
        local: &[Ipv4Addr],
        policy: &Policy,
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
        let denied = match policy.unknown {
            // They are refused like all other clients.
            Unknown::Ignore => &[],
            Unknown::Default | Unknown::Lookup => table.denied(),
        };
        let entries = || {
            let local = local.iter().map(|&address| (address, Target::HOST));
            let nodes = table.nodes().map(|n| (n.address, node(n.winpe)));
            let denied = denied.iter().map(|&address| (address, Target::DENIED));
            local.chain(nodes).chain(denied)
        };
        let unknown = match policy.unknown {
            Unknown::Ignore => None,
            Unknown::Default => Some(node(0)),
            Unknown::Lookup => Some(Target::ASK),
        };
        let mut buckets = (entries().count() * 2 / SLOTS).next_power_of_two();
        let lines = loop {
            match fill(header(unknown, policy), buckets, entries()) {
                Some(lines) => break lines,
                // Buckets are half full on average; if one overflows, more buckets spread the
                // addresses.
                None => buckets *= 2,
            }
        };
        Ok(Self {
            number: previous.number + 1,
            bank,
            lines,
            templates,
            has_nodes: table.nodes().len() > 0,
        })
    }

    /// The node table, header first.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The templates.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// Whether any node is served.
    pub(crate) fn has_nodes(&self) -> bool {
        self.has_nodes
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
}

/// The part of the table that all nodes share; the mask is set once the table's size is known.
fn header(unknown: Option<Target>, policy: &Policy) -> Header {
    let mut loaders = [0; ARCHITECTURES];
    for (to, index) in loaders.iter_mut().zip(policy.loaders.indexes()) {
        *to = index.map_or(0, |index| index + 1);
    }
    Header {
        mask: 0,
        unknown: unknown.map_or(0, Target::stored),
        loaders,
        // There are only a few loaders.
        loader_count: u8::try_from(policy.loaders.paths().len()).unwrap_or(u8::MAX),
        echoes: u8::from(policy.reply_format == ReplyFormat::Pxe),
        interval: policy.limit.interval,
        whole: policy.limit.whole,
    }
}

/// Fills a node table with `buckets` buckets, a power of two; gives up if an address finds no room
/// in its buckets. An address that occurs twice keeps its first target.
fn fill(
    header: Header,
    buckets: usize,
    entries: impl Iterator<Item = (Ipv4Addr, Target)>,
) -> Option<Vec<Line>> {
    let mask = u32::try_from(buckets).ok()?.wrapping_sub(1);
    let mut lines = vec![Line::default(); 1 + buckets];
    *lines.first_mut()? = Header { mask, ..header }.line();
    for (address, target) in entries {
        place(&mut lines, mask, address, target)?;
    }
    Some(lines)
}

fn place(lines: &mut [Line], mask: u32, address: Ipv4Addr, target: Target) -> Option<()> {
    let key = u32::from_ne_bytes(address.octets());
    for probe in 0..PROBES {
        let bucket = hash(address.octets()).wrapping_add(probe) & mask;
        let line = lines.get_mut(1 + usize::try_from(bucket).ok()?)?;
        for (at, to) in line.keys.iter_mut().zip(&mut line.targets) {
            if *to == 0 {
                (*at, *to) = (key, target.stored());
                return Some(());
            }
            if *at == key {
                return Some(());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proxydhcp_common::nodes::Nodes;

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
        assert_eq!((target.winpe(), target.bank()), (0, 1));
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

    proptest! {
        #[test]
        fn finds_what_was_filled_in_and_nothing_else(
            entries in proptest::collection::hash_map(any::<u32>(), 0..1000u32, 0..300),
            others in proptest::collection::vec(any::<u32>(), 50),
            buckets in 0..8u32,
        ) {
            let of = |address: u32| Ipv4Addr::from(address);
            let filled = entries.iter().map(|(a, w)| (of(*a), Target::node(*w, 1)));
            let header = header(None, &Policy::default());
            let Some(lines) = fill(header, 1 << buckets, filled) else {
                // A full bucket has eight entries.
                prop_assert!(entries.len() > SLOTS);
                return Ok(());
            };
            for (address, winpe) in &entries {
                let found = node(&lines[..], of(*address).octets());
                prop_assert_eq!(found.map(Target::winpe), Some(*winpe));
            }
            for other in others {
                let found = node(&lines[..], of(other).octets());
                prop_assert_eq!(found.map(Target::winpe), entries.get(&other).copied());
            }
        }
    }
}
