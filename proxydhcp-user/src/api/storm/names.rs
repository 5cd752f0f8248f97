//! The names of all nodes, and what belongs to them as long as the files stay as they are.
//!
//! For each node, in the order of their numbers, as [`wire`] has numbers: how many bytes its name shares
//! with the one before, how many follow, and these; the number of its WinPE; how many addresses it has;
//! and by how much the first of these is above that of the node before, with a sign.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::base64_text;
use super::wire::{self, Reader};

/// The names of all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The number of nodes.
    pub nodes: u32,
    /// The groups of nodes, and how many each has: the first group has the first nodes, and so on.
    pub groups: Vec<(String, u32)>,
    /// The paths of the WinPEs.
    pub winpes: Vec<String>,
    /// What there is for each node.
    #[serde(with = "base64_text")]
    pub bytes: Vec<u8>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name, in which nothing is unprintable.
    pub name: String,
    /// Its WinPE, an index into those of [`Names`].
    pub winpe: u32,
    /// The first of its addresses.
    pub address: Option<Ipv4Addr>,
    /// How many addresses it has.
    pub addresses: u32,
}

impl Names {
    /// Adds a node.
    pub fn push(&mut self, node: &Named, before: Option<&Named>) {
        let last = before.map_or("", |it| &it.name);
        let pairs = last.bytes().zip(node.name.bytes());
        let shared = pairs.take_while(|(a, b)| a == b).count();
        let rest = node.name.as_bytes().get(shared..).unwrap_or_default();
        let bytes = &mut self.bytes;
        wire::write(bytes, shared as u64);
        wire::write(bytes, rest.len() as u64);
        bytes.extend(rest);
        wire::write(bytes, node.winpe.into());
        wire::write(bytes, node.addresses.into());
        let step = number(Some(node)) - number(before);
        wire::write_signed(bytes, step);
        self.nodes += 1;
    }

    /// The nodes, or `None` if the bytes are not of that form.
    pub fn read(&self) -> Option<Vec<Named>> {
        let mut reader = Reader(&self.bytes);
        let mut nodes: Vec<Named> = Vec::new();
        let mut name = Vec::new();
        let mut address = 0_i64;
        for _ in 0..self.nodes {
            let (shared, length) = (reader.small()?, reader.small()?);
            name.truncate(shared.try_into().ok()?);
            name.extend(reader.bytes(length.try_into().ok()?)?);
            let (winpe, addresses) = (reader.small()?, reader.small()?);
            address = address.checked_add(reader.signed()?)?;
            let first = u32::try_from(address).ok()?;
            nodes.push(Named {
                name: String::from_utf8_lossy(&name).into_owned(),
                winpe,
                address: (addresses > 0).then(|| first.into()),
                addresses,
            });
        }
        reader.is_at_end().then_some(nodes)
    }
}

/// The address as a number; zero if there is none.
fn number(node: Option<&Named>) -> i64 {
    let address = node.and_then(|node| node.address);
    address.map_or(0, |address| u32::from(address).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, address: Option<[u8; 4]>) -> Named {
        Named {
            name: name.to_owned(),
            winpe: 3,
            address: address.map(Ipv4Addr::from),
            addresses: address.map_or(0, |_| 2),
        }
    }

    #[test]
    fn names_are_read_as_they_were_written() {
        let nodes = [
            named("n0001", Some([10, 77, 4, 1])),
            named("n0002", Some([10, 77, 4, 2])),
            named("n\u{e9}", None),
            named("n\u{ea}", Some([255; 4])),
            named("", Some([0, 0, 0, 1])),
        ];
        let mut names = Names::default();
        let mut before = None;
        for node in &nodes {
            names.push(node, before);
            before = Some(node);
        }
        assert_eq!(names.read().unwrap(), nodes);
        for end in 0..names.bytes.len() {
            let mut short = names.clone();
            short.bytes.truncate(end);
            assert_eq!(short.read(), None);
        }
    }

    #[test]
    fn evenly_named_nodes_take_few_bytes() {
        let mut names = Names::default();
        let mut before: Option<Named> = None;
        for n in 0..1000_u32 {
            let mut node = named(&format!("rack7-node{n:05}"), None);
            node.addresses = 1;
            node.address = Some((0x0a4d_0000 + n).into());
            names.push(&node, before.as_ref());
            before = Some(node);
        }
        assert!(names.bytes.len() < 8 * 1000, "{}", names.bytes.len());
    }
}
