//! Who the nodes are: their names, their addresses and their hardware addresses. What a node boots is
//! none of it, so tables that differ in that alone have one register, which was joined once.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

use super::join::{self, Claim};
use super::{Sources, hardware};
use crate::nodes::cfg::texts::Texts;
use crate::nodes::cfg::{Refused, Warning};
use crate::nodes::hardware::Id;

/// The nodes of the files, by the positions of their records.
#[derive(Debug, Default)]
pub(super) struct Register {
    /// All names in one string: separate strings would take three times the memory.
    pub(super) names: String,
    pub(super) nodes: Vec<Node>,
    /// The claims of the hosts file, sorted by address, each address once.
    pub(super) claims: Arc<Vec<Claim>>,
    /// What nodes are known by besides their addresses, each once.
    pub(super) hardware: Vec<hardware::Claim>,
    pub(super) refused: Vec<Refused>,
    pub(super) warnings: Vec<Warning>,
    /// The records whose exact name the hosts file lacks.
    pub(super) wanted: Vec<u32>,
    pub(super) records_read: usize,
    pub(super) suffixes: Vec<String>,
    /// What it follows from, besides the names of the records; `None` if a record is refused, or out of the
    /// ordinary.
    pub(super) mark: Option<Mark>,
    /// The records sorted by name, ignoring ASCII case; made when needed.
    pub(super) alphabet: OnceLock<Vec<u32>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The end of its name among the names; it begins where the previous one ends. A file may not be as large
    /// as would need more.
    name_end: u32,
    /// Its record's position in the file, from 1. A disabled node may have none.
    number: Option<NonZeroU32>,
}

/// What a register follows from besides the names of records: the hash of it. As long as both are the same,
/// so is the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark([u8; 32]);

impl Mark {
    /// The mark of these texts, with the hosts file and the list of hardware addresses, if there are any.
    pub(super) fn of(
        texts: &Texts,
        sources: &Sources,
        hosts: Option<&[u8]>,
        ethers: Option<&[u8]>,
    ) -> Self {
        let path = |path: &'_ PathBuf| path.as_os_str().as_encoded_bytes().to_owned();
        let paths = [
            Some(path(&sources.config)),
            Some(path(&sources.hosts)),
            sources.ethers.as_ref().map(path),
        ];
        let beside = [
            Some(texts.disabled.as_bytes()),
            Some(texts.hardware.as_bytes()),
            Some(&*texts.hosts),
            hosts,
            ethers,
        ];
        let suffixes = sources
            .suffixes
            .iter()
            .map(|suffix| Some(suffix.as_bytes()));
        let paths = paths.iter().map(Option::as_deref);
        let mut hasher = Sha256::new();
        for part in beside.into_iter().chain(paths).chain(suffixes) {
            // Their lengths keep parts apart, and a file that is missing from one that is empty.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hasher.update(length.to_le_bytes());
            hasher.update(part.unwrap_or_default());
        }
        Self(hasher.finalize().into())
    }
}

impl Register {
    /// Adds a node behind the others.
    pub(super) fn add(&mut self, name: &str, number: Option<u32>) {
        self.names.push_str(name);
        let name_end = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let number = number.and_then(NonZeroU32::new);
        self.nodes.push(Node { name_end, number });
    }

    /// Gives back the room for more nodes.
    pub(super) fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self.hardware.shrink_to_fit();
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The record's position in the file, from 1; `None` for a disabled node without one.
    pub(super) fn number(&self, record: u32) -> Option<u32> {
        Some(self.nodes.get(record as usize)?.number?.get())
    }

    pub(super) fn name(&self, record: u32) -> &str {
        let record = record as usize;
        let end_of = |record: usize| self.nodes.get(record).map(|node| node.name_end as usize);
        let start = record.checked_sub(1).and_then(end_of).unwrap_or_default();
        let end = end_of(record).unwrap_or_default();
        self.names.get(start..end).unwrap_or_default()
    }

    /// Enters claims behind others that are settled, and settles all of them.
    pub(super) fn enter(&self, claims: &mut Arc<Vec<Claim>>, more: Vec<Claim>) -> Vec<Warning> {
        if more.is_empty() {
            return Vec::new();
        }
        let claims = Arc::make_mut(claims);
        claims.extend(more);
        self.settle(claims)
    }

    /// Gives each address to the first claim on it, and warns about the other claims.
    pub(super) fn settle(&self, claims: &mut Vec<Claim>) -> Vec<Warning> {
        let conflicts = join::settle(claims);
        let describe = |record: u32| {
            let name = self.name(record);
            match self.number(record) {
                Some(number) => format!("{name} (record {number})"),
                None => format!("{name} (disabled)"),
            }
        };
        let warning = |conflict: join::Conflict| Warning {
            record: self.number(conflict.other),
            text: format!(
                "{} is an address of both {} and {}; {}, which was found first, is served there: \
                 correct the hosts file or the DNS",
                conflict.address,
                describe(conflict.served),
                describe(conflict.other),
                self.name(conflict.served),
            ),
        };
        conflicts.into_iter().map(warning).collect()
    }

    /// The record that a client's name leads to: by the full name, the short one, or the suffix
    /// rules.
    pub(super) fn by_any_name(&self, name: &str) -> Option<u32> {
        let position = |name: &[u8]| self.position(name);
        let name = name.as_bytes();
        join::by_name(name, position).or_else(|| join::by_suffix(name, &self.suffixes, position))
    }

    /// The name of the node whose record is at this position of the file, if that is its own position, too.
    pub(super) fn name_at(&self, position: usize) -> Option<&str> {
        let record = u32::try_from(position).ok()?;
        (self.number(record)? == record + 1).then(|| self.name(record))
    }

    /// The record that has this hardware address.
    pub(super) fn by_hardware(&self, id: Id) -> Option<u32> {
        let claim = self.hardware.iter().find(|claim| claim.id == id)?;
        Some(claim.record)
    }

    /// The record of exactly this name, ignoring ASCII case.
    pub(super) fn record(&self, name: &str) -> Option<u32> {
        self.position(name.as_bytes())
    }

    fn position(&self, name: &[u8]) -> Option<u32> {
        let alphabet = self.alphabet.get_or_init(|| {
            let mut alphabet: Vec<_> = (0..).zip(&self.nodes).map(|(n, _)| n).collect();
            alphabet.sort_unstable_by(|&a, &b| {
                folded(self.name(a).as_bytes()).cmp(folded(self.name(b).as_bytes()))
            });
            alphabet
        });
        let found = alphabet
            .binary_search_by(|&record| folded(self.name(record).as_bytes()).cmp(folded(name)));
        alphabet.get(found.ok()?).copied()
    }
}

/// The name's letters in lower case.
pub(super) fn folded(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(u8::to_ascii_lowercase)
}
