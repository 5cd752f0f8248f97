//! Which record an address leads to.
//!
//! The hosts file is asked for an address's names, as the client will be known by its address: so
//! every name on a line counts, and a node may have several addresses.

use std::net::Ipv4Addr;

use crate::cfg::Records;
use crate::hosts::{Host, Hosts};

/// An address that leads to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) address: Ipv4Addr,
    /// Position of the record.
    pub(super) record: u32,
}

/// An address that leads to two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) address: Ipv4Addr,
    pub(super) served: u32,
    pub(super) other: u32,
}

/// What the hosts file says.
#[derive(Debug)]
pub(super) struct Joined {
    /// The claims, in the file's order.
    pub(super) claims: Vec<Claim>,
    /// For each record: whether the file has its very name.
    pub(super) named: Vec<bool>,
}

/// Finds the record of each line of the hosts file.
pub(super) fn join(records: &Records<'_>, hosts: &mut Hosts<'_>) -> Joined {
    let mut named = vec![false; records.records.len()];
    let mut claims = Vec::with_capacity(named.len());
    for host in hosts {
        let address = host.address;
        if let Some(record) = by_name(records, &host) {
            claims.push(Claim { address, record });
            if let Some(named) = named.get_mut(record as usize) {
                *named = true;
            }
        }
    }
    Joined { claims, named }
}

/// Orders the claims by address and leaves the first to each, in the order given.
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

/// The canonical name, then the aliases; of each the full name, then the short one.
fn by_name(records: &Records<'_>, host: &Host<'_>) -> Option<u32> {
    host.names().find_map(|name| {
        records.position(name).or_else(|| {
            let short = short(name);
            // Without a domain it is the same name.
            if short.len() < name.len() {
                records.position(short)
            } else {
                None
            }
        })
    })
}

fn short(name: &[u8]) -> &[u8] {
    name.split(|&byte| byte == b'.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cfg::{self, NAME, RECORD};

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

    /// The settled claims as (last byte of the address, record's name), and the records unnamed.
    fn joined(names: &[&str], hosts: &str) -> (Vec<(u8, String)>, Vec<String>, usize) {
        let config = config(names);
        let records = cfg::parse(&config, Path::new("/tftpboot"));
        let Joined { mut claims, named } = join(&records, &mut Hosts::new(hosts.as_bytes()));
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
}
