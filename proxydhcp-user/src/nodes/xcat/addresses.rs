//! A hosts file from xCAT's tables, for servers whose `/etc/hosts` xCAT does not write.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::Site;

/// The first line of the file.
const HEADER: &str = "# From xCAT's tables, by `proxydhcp xcat sync`, which replaces this file.\n";

/// The addresses of these nodes as a hosts file, and the nodes that have none in xCAT's tables.
pub(crate) fn hosts(site: &Site, nodes: &[String]) -> (String, Vec<String>) {
    let mut text = HEADER.to_owned();
    let mut without = Vec::new();
    for node in nodes {
        let before = text.len();
        for (address, name) in addresses(site, node) {
            let name = if name == *node {
                String::new()
            } else {
                format!(" {name}")
            };
            // A string takes whatever is written to it.
            let _ = writeln!(text, "{address}{name} {node}");
        }
        if text.len() == before {
            without.push(node.clone());
        }
    }
    (text, without)
}

/// The node's addresses, each with the name of its interface.
fn addresses(site: &Site, node: &str) -> Vec<(Ipv4Addr, String)> {
    let attribute = |table, column, node: &str| {
        let value = site.attribute(table, column, node);
        value.ok().flatten().unwrap_or_default()
    };
    let mut found = Vec::new();
    if let Ok(address) = attribute(&site.hosts, "ip", node).trim().parse() {
        found.push((address, node.to_owned()));
    }
    // Such as -ib0:10.1.0.7,other!10.2.0.7; a hyphen stands for the node's name before it.
    for interface in attribute(&site.hosts, "otherinterfaces", node).split(',') {
        let Some((name, address)) = interface.split_once(['!', ':']) else {
            continue;
        };
        if let Ok(address) = address.trim().parse() {
            let node = if name.starts_with('-') { node } else { "" };
            found.push((address, format!("{node}{}", name.trim())));
        }
    }
    // Such as 0a:00:00:00:00:01!node7|0a:00:00:00:00:02!node7-eth1, where the second name may have
    // an address of its own.
    for interface in attribute(&site.macs, "mac", node).split('|') {
        let Some((_, name)) = interface.split_once('!') else {
            continue;
        };
        let is_known = found.iter().any(|(_, known)| known == name);
        if let Some(address) = site.hosts.get(name, "ip").filter(|_| !is_known)
            && let Ok(address) = address.parse()
        {
            found.push((address, name.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::xcat::table::Table;

    #[test]
    fn a_node_has_the_addresses_of_all_its_interfaces() {
        let hosts_table = "#node,ip,otherinterfaces,disable\n\
            \"all\",\"|n(\\d+)|10.0.0.($1+0)|\",\"|n(\\d+)|-ib0:10.1.0.($1+0),m$1!10.2.0.$1|\",\n\
            \"n2\",\"10.9.0.2\",\"none\",\n\"n2-eth1\",\"10.9.1.2\",,\n";
        let macs =
            "#node,mac,disable\n\"n2\",\"0a:00:00:00:00:01!n2|0a:00:00:00:00:02!n2-eth1\",\n";
        let nodes = "#node,groups,disable\n\"n1\",\"all\",\n\"n2\",\"all\",\n\"n3\",,\n";
        let site = Site::of(|table, columns| {
            let empty = format!("#{},disable\n", columns.join(","));
            let text = match table {
                "hosts" => hosts_table,
                "mac" => macs,
                "nodelist" => nodes,
                _ => &empty,
            };
            Table::of(text, table, columns)
        });
        let names = ["n1", "n2", "n3"].map(str::to_owned);
        let (text, without) = hosts(&site.unwrap(), &names);
        let expected = "10.0.0.1 n1\n10.1.0.1 n1-ib0 n1\n10.2.0.1 m1 n1\n\
            10.9.0.2 n2\n10.9.1.2 n2-eth1 n2\n";
        assert_eq!(text, format!("{HEADER}{expected}"));
        assert_eq!(without, ["n3"]);
    }
}
