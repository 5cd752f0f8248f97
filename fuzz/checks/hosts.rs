//! What holds for any hosts file.

use std::net::Ipv4Addr;

use proxydhcp::names::hosts::{Hosts, Malformed};
use proxydhcp_common::wire::is_client;

/// Reads bytes as a hosts file, and again line by line as hosts(5) has it.
///
/// # Panics
/// Where the two differ.
pub(crate) fn hosts(data: &[u8]) {
    let mut hosts = Hosts::new(data);
    let mut malformed: Option<Malformed> = None;
    for (number, line) in (1..).zip(data.split(|&byte| byte == b'\n')) {
        match read(line) {
            Line::Nothing => {}
            Line::Host(address, names) => {
                let host = hosts.next().expect("the line is a host's");
                assert_eq!((host.line as usize, host.address), (number, address));
                assert!(host.names().eq(names));
            }
            Line::Malformed => {
                let none = Malformed {
                    count: 0,
                    first: number,
                };
                malformed.get_or_insert(none).count += 1;
            }
        }
    }
    assert!(hosts.next().is_none());
    assert_eq!(hosts.malformed(), malformed);
}

/// What a line says.
enum Line<'a, Names: Iterator<Item = &'a [u8]>> {
    /// Nothing about a client's IPv4 address.
    Nothing,
    Host(Ipv4Addr, Names),
    Malformed,
}

fn read(line: &[u8]) -> Line<'_, impl Iterator<Item = &[u8]>> {
    let text = line.split(|&byte| byte == b'#').next().unwrap_or_default();
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .peekable();
    let Some(first) = words.next() else {
        return Line::Nothing;
    };
    if first.contains(&b':') {
        return Line::Nothing;
    }
    let address = str::from_utf8(first).map(str::parse::<Ipv4Addr>);
    match (address, words.peek()) {
        (Ok(Ok(address)), Some(_)) if is_client(address.octets()) => Line::Host(address, words),
        (Ok(Ok(_)), Some(_)) => Line::Nothing,
        _ => Line::Malformed,
    }
}
