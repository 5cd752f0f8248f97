//! Finds the record that an address leads to.
//!
//! The hosts file is searched for an address's names, because a client is known by its address. So
//! every name on a line counts, and a node may have several addresses. If no name of a line has a
//! record, the suffix rules find the node whose other interface it names: by the rule `-ib0`,
//! `node1-ib0` is an interface of `node1`.

use std::net::Ipv4Addr;

use crate::names::hosts::Hosts;
use crate::nodes::cfg::Records;

/// An address that leads to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) address: Ipv4Addr,
    /// The position of the record.
    pub(super) record: u32,
    /// The line of the hosts file, from 1; 0 if the address comes from the resolver; [`OWN`].
    pub(super) line: u32,
}

/// The line of a claim that is of the node itself, whatever the hosts file says. A hosts file may not be
/// as long.
pub(super) const OWN: u32 = u32::MAX;

/// An address that leads to two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) address: Ipv4Addr,
    pub(super) served: u32,
    pub(super) other: u32,
}

/// The result of joining the hosts file with the records.
#[derive(Debug)]
pub(super) struct Joined {
    /// The claims, in the file's order.
    pub(super) claims: Vec<Claim>,
    /// For each record, whether the file contains exactly its name.
    pub(super) named: Vec<bool>,
}

/// Finds the record for each address that nodes have of their `own`, and for each line of the hosts file.
pub(super) fn join(
    records: &Records<'_>,
    suffixes: &[String],
    own: &mut Hosts<'_>,
    hosts: &mut Hosts<'_>,
) -> Joined {
    let mut named = vec![false; records.records.len() + records.denied.len()];
    let mut claims = Vec::with_capacity(named.len());
    let position = |name: &[u8]| records.position(name);
    let own = own.map(|host| (host, OWN));
    let hosts = hosts.map(|host| (host, host.line));
    for (host, line) in own.chain(hosts) {
        let address = host.address;
        let claim = |record| Claim {
            address,
            record,
            line,
        };
        if let Some(record) = host.names().find_map(|name| by_name(name, position)) {
            claims.push(claim(record));
            if let Some(named) = named.get_mut(record as usize) {
                *named = true;
            }
        } else if let Some(record) = host
            .names()
            .find_map(|name| by_suffix(name, suffixes, position))
        {
            // The node's own name may still be in the DNS.
            claims.push(claim(record));
        }
    }
    Joined { claims, named }
}

/// For each record, followed by the denied ones: whether the hosts file has a name that leads to
/// it, with any address.
pub(crate) fn mentioned(records: &Records<'_>, suffixes: &[String], hosts: &[u8]) -> Vec<bool> {
    let mut mentioned = vec![false; records.records.len() + records.denied.len()];
    let position = |name: &[u8]| records.position(name);
    for line in hosts.split(|&byte| byte == b'\n') {
        let text = line.split(|&byte| byte == b'#').next().unwrap_or_default();
        let words = text.split(u8::is_ascii_whitespace);
        let names = words.filter(|word| !word.is_empty()).skip(1);
        for name in names {
            let record = by_name(name, position).or_else(|| by_suffix(name, suffixes, position));
            if let Some(mentioned) = record.and_then(|record| mentioned.get_mut(record as usize)) {
                *mentioned = true;
            }
        }
    }
    mentioned
}

/// Sorts the claims by address and keeps the first for each address, in the order given.
pub(super) fn settle(claims: &mut Vec<Claim>) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    claims.sort_by_key(|claim| claim.address);
    claims.dedup_by(|later, first| {
        let same = later.address == first.address;
        if same && later.record != first.record {
            let (served, other) = (first.record, later.record);
            conflicts.push(Conflict {
                address: first.address,
                served,
                other,
            });
        }
        same
    });
    conflicts
}

/// The record with the full name, else the one with the short name.
pub(super) fn by_name(name: &[u8], position: impl Fn(&[u8]) -> Option<u32>) -> Option<u32> {
    // In the DNS, a full name ends in a dot, and some programs write it like that.
    let name = name.strip_suffix(b".").unwrap_or(name);
    let (host, domain) = split(name);
    position(name).or_else(|| {
        // Without a domain, the short name is the same name.
        let short = (!domain.is_empty()).then_some(host)?;
        position(short)
    })
}

/// The record of the node whose other interface has this name: the name without the first suffix
/// that fits, with its domain or else without.
pub(super) fn by_suffix(
    name: &[u8],
    suffixes: &[String],
    position: impl Fn(&[u8]) -> Option<u32>,
) -> Option<u32> {
    let (host, domain) = split(name);
    suffixes.iter().find_map(|suffix| {
        let (node, end) = host.split_at_checked(host.len().checked_sub(suffix.len())?)?;
        if node.is_empty() || suffix.is_empty() || !end.eq_ignore_ascii_case(suffix.as_bytes()) {
            return None;
        }
        by_name(&[node, domain].concat(), &position)
    })
}

/// Splits a name into the host's own part and the domain, with its dot.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    let dot = name.iter().position(|&byte| byte == b'.');
    name.split_at(dot.unwrap_or(name.len()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::nodes::NAME;
    use crate::nodes::cfg::{self, RECORD};
    use crate::winpe::path::Rules;

    fn config(names: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in names {
            let end = bytes.len() + RECORD;
            assert!(name.len() <= NAME);
            bytes.extend(name.as_bytes());
            bytes.resize(end, 0);
        }
        bytes
    }

    /// The settled claims as (last byte of the address, record's name), and the records not named.
    fn joined(names: &[&str], hosts: &str) -> (Vec<(u8, String)>, Vec<String>, usize) {
        joined_by(&[], names, hosts)
    }

    fn joined_by(
        suffixes: &[&str],
        names: &[&str],
        hosts: &str,
    ) -> (Vec<(u8, String)>, Vec<String>, usize) {
        let suffixes: Vec<_> = suffixes.iter().map(ToString::to_string).collect();
        let config = config(names);
        let records = cfg::parse(&config, Rules::within(Path::new("/tftpboot")));
        let Joined { mut claims, named } = join(
            &records,
            &suffixes,
            &mut Hosts::new(b""),
            &mut Hosts::new(hosts.as_bytes()),
        );
        let conflicts = settle(&mut claims);
        let name = |record: u32| records.records[record as usize].name.to_owned();
        let claims = claims
            .iter()
            .map(|claim| (claim.address.octets()[3], name(claim.record)))
            .collect();
        let unnamed = (0..)
            .zip(named)
            .filter(|(_, named)| !named)
            .map(|(record, _)| name(record));
        (claims, unnamed.collect(), conflicts.len())
    }

    fn claims(names: &[&str], hosts: &str) -> Vec<(u8, String)> {
        joined(names, hosts).0
    }

    #[test]
    fn full_and_short_names_match_in_either_order() {
        let hosts = "10.0.0.1 cn1 cn1.cluster\n10.0.0.2 cn2.cluster cn2\n10.0.0.3 CN3.Cluster\n\
            10.0.0.4 cn4 cn4.cluster\n10.0.0.5 cn5";
        let names = ["cn1", "cn2", "cn3", "cn4.cluster", "cn5.cluster"];
        let (claims, unnamed, _) = joined(&names, hosts);
        let expected = [(1, "cn1"), (2, "cn2"), (3, "cn3"), (4, "cn4.cluster")];
        assert_eq!(
            claims,
            expected.map(|(address, name)| (address, name.to_owned()))
        );
        assert_eq!(unnamed, ["cn5.cluster"]);
    }

    #[test]
    fn a_full_name_may_end_in_a_dot() {
        let hosts = "10.0.0.1 n1.cluster.\n10.0.0.2 n2.cluster. n2\n10.0.0.3 n3.\n10.0.0.4 .";
        let expected = [(1, "n1.cluster"), (2, "n2"), (3, "n3")];
        assert_eq!(
            claims(&["n1.cluster", "n2", "n3"], hosts),
            expected.map(|(address, name)| (address, name.to_owned()))
        );
        let (claims, _, _) = joined_by(&["-ib0"], &["n1.cluster"], "10.0.0.1 n1-ib0.cluster.");
        assert_eq!(claims, [(1, "n1.cluster".to_owned())]);
    }

    #[test]
    fn the_first_name_on_a_line_that_has_a_record_decides() {
        assert_eq!(
            claims(&["a", "b"], "10.0.0.1 x y.cluster b a"),
            [(1, "b".to_owned())]
        );
        assert_eq!(
            claims(&["a", "a.x"], "10.0.0.1 a.x a"),
            [(1, "a.x".to_owned())]
        );
        assert_eq!(
            claims(&["a", "a-ib0"], "10.0.0.1 a-ib0 a"),
            [(1, "a-ib0".to_owned())]
        );
    }

    #[test]
    fn a_node_has_all_addresses_of_its_name() {
        let hosts = "10.0.0.3 n1.ib0\n10.0.0.2 other n1\n10.0.0.1 n1\n10.0.0.4 n1-ib0\n\
            10.0.0.5 n12";
        let n1 = |address| (address, "n1".to_owned());
        assert_eq!(claims(&["n1"], hosts), [1, 2, 3].map(n1));
    }

    #[test]
    fn the_first_claim_to_an_address_wins() {
        let (claims, unnamed, conflicts) = joined(
            &["a", "b"],
            "10.0.0.1 b\n10.0.0.2 a\n10.0.0.1 a\n10.0.0.2 a.cluster",
        );
        assert_eq!(claims, [(1, "b".to_owned()), (2, "a".to_owned())]);
        assert_eq!((unnamed.len(), conflicts), (0, 1));
        // A name without a record claims nothing.
        let (claims, _, conflicts) = joined(&["b"], "10.0.0.1 a\n10.0.0.1 b");
        assert_eq!((claims, conflicts), (vec![(1, "b".to_owned())], 0));
    }

    #[test]
    fn a_suffix_leads_to_the_node_whose_interface_it_is() {
        let hosts = "10.0.0.1 n1-ib0\n10.0.0.2 N1-IB0.cluster\n10.0.0.3 n1-pri n1-other\n\
            10.0.0.4 n1-other\n10.0.0.5 -ib0\n10.0.0.6 n1-ib0-pri\n10.0.0.7 n3.x-ib0\n\
            10.0.0.8 n2-ib0.cluster";
        let (claims, unnamed, conflicts) =
            joined_by(&["-ib0", "-pri", ""], &["n1", "n2.cluster"], hosts);
        let n1 = |address| (address, "n1".to_owned());
        let mut expected = [1, 2, 3].map(n1).to_vec();
        expected.push((8, "n2.cluster".to_owned()));
        assert_eq!(claims, expected);
        // The DNS is still asked for the nodes' own names.
        assert_eq!((unnamed.len(), conflicts), (2, 0), "{unnamed:?}");
    }

    #[test]
    fn a_record_of_its_own_wins_over_the_rule() {
        let hosts = "10.0.0.1 n1-ib0\n10.0.0.2 n1-pri n2\n10.0.0.3 n1-pri";
        let (claims, _, _) = joined_by(&["-ib0", "-pri"], &["n1", "n1-ib0", "n2"], hosts);
        let claim = |address, name: &str| (address, name.to_owned());
        assert_eq!(claims, [claim(1, "n1-ib0"), claim(2, "n2"), claim(3, "n1")]);
    }
}
