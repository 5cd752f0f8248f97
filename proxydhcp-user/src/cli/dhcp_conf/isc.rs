//! Configuration for ISC dhcpd.

use std::fmt::Write;

use super::{CLASS, HandOff};

const HEAD: &str = "\
# Hands nodes off to proxydhcp; made by `proxydhcp dhcp-conf isc`.
# In dhcpd.conf, outside of all braces: include \"/etc/dhcp/proxydhcp.conf\";
# This wins over a filename or next-server of all, of a subnet or of a pool, but not over those of
# a host declaration. There must be no `option bootfile-name` for these nodes.
";

/// The file to include.
pub(super) fn text(hand_off: &HandOff) -> String {
    let architectures: Vec<String> = hand_off
        .architectures
        .iter()
        .map(|number| {
            // The first of the architectures that the client lists.
            format!("substring(option client-architecture, 0, 2) = 00:{number:02x}")
        })
        .collect();
    let next_server = hand_off
        .server
        .map_or_else(String::new, |server| format!("\n    next-server {server};"));
    // A lookup among subclasses takes as long for thousands of nodes as for one.
    let (matches, and, subclasses) = match &hand_off.nodes {
        None => (
            format!("match if {PXE_CLIENT};"),
            String::new(),
            String::new(),
        ),
        Some(nodes) => {
            let mut lines = String::from("\n");
            for node in nodes {
                // Writing to a string cannot fail. 1 is Ethernet.
                let _ = writeln!(
                    lines,
                    "subclass \"{CLASS}\" 1:{}; # {}",
                    node.mac, node.name
                );
            }
            let and = format!("{PXE_CLIENT}\n      and ");
            ("match hardware;".to_owned(), and, lines)
        }
    };
    format!(
        "{HEAD}
option client-architecture code 93 = unsigned integer 16;

class \"{CLASS}\" {{
  {matches}
  if {and}({}) {{
    option vendor-class-identifier \"PXEClient\";
    filename \"\";{next_server}
  }}
}}
{subclasses}",
        architectures.join("\n        or ")
    )
}

const PXE_CLIENT: &str = "substring(option vendor-class-identifier, 0, 9) = \"PXEClient\"";
