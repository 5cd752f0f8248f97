//! The hosts file: the names of each address (hosts(5)).

use std::net::Ipv4Addr;
use std::path::Path;

use proxydhcp_common::wire::is_client;

use crate::sys::file::FileError;
use crate::sys::text_file;

/// Reads a hosts file; `None` if it does not exist, because all names may be in the DNS.
///
/// # Errors
/// If the file exists but cannot be read: see [`FileError`].
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    text_file::read_if_there(path)
}

/// Reads a hosts file like [`read`], and gives its writer time to finish a last line without a line
/// feed: half a file has lost nodes.
///
/// # Errors
/// If the file exists but cannot be read: see [`FileError`].
pub fn read_at_rest(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    text_file::read_at_rest(path)
}

/// Whether this can follow a node's name in a hosts file, as in the names of its other interfaces: it is
/// a part of the first part of a host name.
pub fn is_suffix(text: &str) -> bool {
    let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    !text.is_empty() && text.chars().all(is_part)
}

/// Iterates over the lines of a hosts file that name a client's address.
///
/// Comments, IPv6 addresses and addresses that no client has are skipped. So are malformed lines,
/// which are counted.
#[derive(Clone, Debug)]
pub struct Hosts<'a> {
    rest: &'a [u8],
    number: usize,
    malformed: Option<Malformed>,
}

/// The lines that are neither blank, nor a comment, nor an address with names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The number of malformed lines.
    pub count: usize,
    /// The line number of the first, from 1.
    pub first: usize,
}

/// A line with an address, and at least one name for it.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The line number, from 1.
    pub line: u32,
    /// The address.
    pub address: Ipv4Addr,
    names: &'a [u8],
}

impl<'a> Host<'a> {
    /// The canonical name, followed by the aliases. They need not be UTF-8.
    pub fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        words(self.names)
    }
}

impl<'a> Hosts<'a> {
    /// Iterates over a file's bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            number: 0,
            malformed: None,
        }
    }

    /// The malformed lines seen so far.
    pub fn malformed(&self) -> Option<Malformed> {
        self.malformed
    }
}

impl<'a> Iterator for Hosts<'a> {
    type Item = Host<'a>;

    fn next(&mut self) -> Option<Host<'a>> {
        while !self.rest.is_empty() {
            let (line, rest) = until(self.rest, |byte| byte == b'\n');
            self.rest = rest;
            self.number += 1;
            match host(line) {
                Ok(Some(host)) => {
                    // The limit on a file's size keeps the number in range.
                    let line = u32::try_from(self.number).unwrap_or(u32::MAX);
                    return Some(Host { line, ..host });
                }
                Ok(None) => {}
                Err(NotAHost) => {
                    let first = Malformed {
                        count: 0,
                        first: self.number,
                    };
                    self.malformed.get_or_insert(first).count += 1;
                }
            }
        }
        None
    }
}

struct NotAHost;

fn host(line: &[u8]) -> Result<Option<Host<'_>>, NotAHost> {
    let (text, _) = until(line, |byte| byte == b'#');
    let (address, names) = until(text.trim_ascii_start(), |byte| byte.is_ascii_whitespace());
    if address.is_empty() || address.contains(&b':') {
        return Ok(None);
    }
    let names = names.trim_ascii();
    let address = str::from_utf8(address)
        .ok()
        .and_then(|address| address.parse::<Ipv4Addr>().ok());
    match address {
        Some(address) if !names.is_empty() => Ok(is_client(address.octets()).then_some(Host {
            line: 0,
            address,
            names,
        })),
        _ => Err(NotAHost),
    }
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

/// The parts before and after the first such byte.
fn until(bytes: &[u8], end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let length = bytes
        .iter()
        .position(|&byte| end(byte))
        .unwrap_or(bytes.len());
    let (before, after) = bytes.split_at(length);
    (before, after.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Line<'a> = (String, Vec<&'a [u8]>);

    fn hosts(text: &[u8]) -> (Vec<Line<'_>>, Option<Malformed>) {
        let mut hosts = Hosts::new(text);
        let found = hosts
            .by_ref()
            .map(|host| (host.address.to_string(), host.names().collect()))
            .collect();
        (found, hosts.malformed())
    }

    #[test]
    fn names_come_in_their_order() {
        let text =
            b"10.0.0.1 cn1.cluster cn1\n\t10.0.0.2\tcn2  cn2.cluster\talias # 10.0.0.3 cn3\r\n";
        let (found, malformed) = hosts(text);
        let expected: [Line<'_>; 2] = [
            ("10.0.0.1".into(), vec![b"cn1.cluster", b"cn1"]),
            ("10.0.0.2".into(), vec![b"cn2", b"cn2.cluster", b"alias"]),
        ];
        assert_eq!(found, expected);
        assert_eq!(malformed, None);
    }

    #[test]
    fn what_is_no_clients_is_passed_over() {
        let text = b"\n  \n# comment\n::1 localhost\nfe80::1%eth0 cn1\n127.0.0.1 localhost\n\
            127.0.1.1 cn1\n0.0.0.0 a\n0.1.2.3 b\n224.0.0.1 c\n239.255.255.255 d\n255.255.255.255 e";
        assert_eq!(hosts(text), (vec![], None));
    }

    #[test]
    fn malformed_lines_are_counted() {
        let text = b"10.0.0.1 cn1\n10.0.0.256 a\n10.0.0.2\n10.0.0.3 # no name\nword\n\xff\xfe x\n\
            10.0.0.4 cn4\xff cn4";
        let (found, malformed) = hosts(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].1, [b"cn4\xff" as &[u8], b"cn4"]);
        assert_eq!(malformed, Some(Malformed { count: 5, first: 2 }));
    }

    #[test]
    fn a_missing_file_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(&folder.path().join("hosts")).unwrap().is_none());
        assert!(matches!(read(folder.path()), Err(FileError::NotRegular(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_over(text in prop::collection::vec(any::<u8>(), 0..500)) {
            for host in Hosts::new(&text) {
                prop_assert!(is_client(host.address.octets()));
                prop_assert!(host.names().count() > 0);
            }
        }

        #[test]
        fn near_lines_are_walked_over(text in "([0-9.:]{0,9}[ \t#a\r\n]{0,4}){0,20}") {
            let lines = text.split('\n').count();
            let mut hosts = Hosts::new(text.as_bytes());
            let found = hosts.by_ref().count();
            let malformed = hosts.malformed().map_or(0, |malformed| malformed.count);
            prop_assert!(found + malformed <= lines);
        }
    }
}
