//! The file of nodes' hardware addresses: like ethers(5), with the name first, or as xCAT's mac table
//! has them.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};

use crate::sys::text_file;
use crate::text::{SHOWN, first_of, listed};

mod address;
mod id;

pub(crate) use address::Address;
pub use address::Mac;
pub use id::{Id, Uuid};

/// The Ethernet address that a text is, in any of its forms, if a card can have it.
pub(crate) fn ethernet(text: &str) -> Option<Mac> {
    match Address::parse(text)? {
        Address::Ethernet(mac) => Some(mac),
        Address::Nobody(_) | Address::Long(_) => None,
    }
}

/// A node and its hardware address. A node with several interfaces occurs several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) mac: Mac,
}

/// The addresses of some nodes.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) nodes: Vec<Node>,
    /// What of the file is left out, line by line, and why.
    pub(crate) left_out: Vec<String>,
}

/// The hardware addresses of `names`, in their order, from the file at `path`. Lines, or parts of them,
/// that are no Ethernet address of a node are left out.
///
/// # Errors
///
/// If the file cannot be read, or lacks one of the names.
pub(crate) fn find(path: &Path, names: &[String]) -> Result<Found> {
    let bytes = text_file::read(path)?;
    let list = MacList::parse(&String::from_utf8_lossy(&bytes));
    let shown = path.display();
    let line = |(line, why): &(usize, String)| format!("{shown}, line {line}: left out: {why}");
    let left_out: Vec<_> = list.left_out.iter().map(line).collect();

    let mut nodes = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        let macs = list.of(name);
        if macs.is_empty() {
            missing.push(name.as_str());
        }
        nodes.extend(macs.iter().map(|&mac| Node {
            name: name.clone(),
            mac,
        }));
    }
    if missing.is_empty() {
        return Ok(Found { nodes, left_out });
    }
    let mut lines = vec![format!(
        "{shown} has no hardware address of {}; add lines such as \"{} 52:54:00:12:34:56\", \
         or name another file by --mac",
        listed(&missing),
        missing.first().unwrap_or(&"node1"),
    )];
    if !left_out.is_empty() {
        lines.push(first_of(&left_out, SHOWN, "\n"));
    }
    bail!(lines.join("\n"))
}

/// The contents of a file.
#[derive(Debug, Default)]
pub struct MacList {
    /// The addresses by name, in lower case. A full name is also listed by the part before its first
    /// dot.
    by_name: HashMap<String, Vec<Mac>>,
    /// Whose each address is, in lower case.
    owners: HashMap<Mac, String>,
    /// The addresses in the file's order, with their lines from 1.
    order: Vec<(usize, Mac)>,
    /// The numbers of lines, from 1, and why they, or parts of them, are left out.
    left_out: Vec<(usize, String)>,
}

impl MacList {
    /// Parses a file's text.
    pub fn parse(text: &str) -> Self {
        let mut list = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let (line, _) = line.split_once('#').unwrap_or((line, ""));
            if let Err(why) = list.line(number, line) {
                list.left_out.push((number, why));
            }
        }
        list
    }

    /// The addresses of a node, in the file's order.
    pub fn of(&self, name: &str) -> &[Mac] {
        let macs = self.by_name.get(&name.to_ascii_lowercase());
        macs.map_or(&[], Vec::as_slice)
    }

    /// All addresses in the file's order: the line, from 1, and the node's name in lower case.
    pub fn owners(&self) -> impl Iterator<Item = (usize, Mac, &str)> {
        self.order
            .iter()
            .filter_map(|&(line, mac)| Some((line, mac, self.owners.get(&mac)?.as_str())))
    }

    /// The numbers of lines, from 1, and why they, or parts of them, are left out.
    pub fn left_out(&self) -> &[(usize, String)] {
        &self.left_out
    }

    /// Adds the addresses of a line: a name and its addresses, in any order, separated by spaces or
    /// commas. Columns without addresses, but for the name, mean nothing here.
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let is_space = |char: char| char.is_whitespace() || matches!(char, ',' | ';' | '"' | '\'');
        let words: Vec<_> = line
            .split(is_space)
            .filter(|word| !word.is_empty())
            .collect();
        if words.is_empty() {
            return Ok(());
        }
        let Some(name) = name(&words) else {
            return Err("there is no name beside the hardware address".to_owned());
        };
        if name.chars().any(char::is_control) {
            return Err("the name has a control character".to_owned());
        }
        let interfaces = words
            .iter()
            .filter(|&&word| word != name)
            .filter_map(|word| interfaces(word));
        let mut interfaces = interfaces.flatten().peekable();
        if interfaces.peek().is_none() {
            return Err(format!("there is no hardware address beside {name}"));
        }
        let mut faults = Vec::new();
        for (address, host) in interfaces {
            match address {
                Address::Ethernet(mac) => match self.add(mac, name, host) {
                    Ok(()) => self.order.push((number, mac)),
                    Err(fault) => faults.push(fault),
                },
                Address::Long(bytes) => faults.push(format!(
                    "an address of {bytes} bytes, as InfiniBand has, is not the Ethernet address that \
                     PXE asks with"
                )),
                Address::Nobody(mac) => faults.push(format!("{mac} is not the address of a card")),
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("; "))
        }
    }

    /// Adds an address of a node, which may have a host name of its own.
    fn add(&mut self, mac: Mac, name: &str, host: Option<&str>) -> Result<(), String> {
        let owner = self
            .owners
            .entry(mac)
            .or_insert_with(|| name.to_ascii_lowercase());
        if !owner.eq_ignore_ascii_case(name) {
            return Err(format!("{mac} is an address of {owner} already"));
        }
        for name in [Some(name), host].into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            let short = name.split_once('.').map(|(short, _)| short.to_owned());
            for name in [Some(name), short].into_iter().flatten() {
                let macs = self.by_name.entry(name).or_default();
                if !macs.contains(&mac) {
                    macs.push(mac);
                }
            }
        }
        Ok(())
    }
}

/// The node's name among the words of a line: the first that is no address. A word of hexadecimal
/// digits alone may be both.
fn name<'a>(words: &[&'a str]) -> Option<&'a str> {
    let (first, others) = words.split_first()?;
    let is_surely_an_address = |word: &&str| interfaces(word).is_some() && !is_bare(word);
    if is_bare(first) && others.iter().any(is_surely_an_address) {
        return Some(first);
    }
    let plain = words.iter().find(|word| interfaces(word).is_none());
    let mut bare = words.iter().filter(|word| is_bare(word));
    plain
        .or_else(|| bare.next_back().filter(|_| words.len() > 1))
        .copied()
}

fn is_bare(word: &str) -> bool {
    word.chars().all(|char| char.is_ascii_hexdigit())
}

/// The addresses in a word, each with the host name that xCAT gives it: `ADDRESS!NAME|ADDRESS`. `None`
/// if there are others in it.
fn interfaces(word: &str) -> Option<Vec<(Address, Option<&str>)>> {
    let interface = |part| {
        let (address, host) = match str::split_once(part, '!') {
            Some((address, host)) => (address, Some(host)),
            None => (part, None),
        };
        // xCAT's *NOIP* is no name.
        let host = host.filter(|host| !host.is_empty() && !host.contains('*'));
        Some((Address::parse(address)?, host))
    };
    word.split('|')
        .filter(|part| !part.is_empty())
        .map(interface)
        .collect::<Option<Vec<_>>>()
        .filter(|all| !all.is_empty())
}

#[cfg(test)]
mod tests;
