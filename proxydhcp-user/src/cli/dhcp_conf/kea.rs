//! Configuration for Kea.

use std::fmt::Write;

use super::{CLASS, HandOff};

const HEAD: &str = "\
// Hands nodes off to proxydhcp; made by `proxydhcp dhcp-conf kea`.
// In \"Dhcp4\" of kea-dhcp4.conf, before all other classes:
//   \"client-classes\": [ <?include \"/etc/kea/proxydhcp.json\"?>, ... ]
// The file name, a NUL, is an empty one that wins over those of later classes and of subnets, but not
// over that of a reservation. Two things it cannot take away: option 67 (\"option-data\"), which these
// nodes must not get, and a \"next-server\", for which --server must name this host.
";

/// A client class, to be included in a list of them.
pub(super) fn text(hand_off: &HandOff) -> String {
    let architectures = hand_off.architectures.iter().map(|number| {
        // The first of the architectures that the client lists.
        format!("substring(option[93].hex, 0, 2) == 0x{number:04x}")
    });
    let mut test = format!(
        "substring(option[60].hex, 0, 9) == 'PXEClient' and ({})",
        any(architectures)
    );
    let mut names = String::new();
    if let Some(nodes) = &hand_off.nodes {
        let macs = nodes.iter().map(|node| {
            let digits = node.mac.to_string().replace(':', "");
            format!("pkt4.mac == 0x{digits}")
        });
        // Writing to a string cannot fail.
        let _ = write!(test, " and ({})", any(macs));
        for node in nodes {
            let _ = writeln!(names, "// {} {}", node.mac, node.name);
        }
    }
    let next_server = hand_off.server.map_or_else(String::new, |server| {
        format!(",\n  \"next-server\": \"{server}\"")
    });
    format!(
        "{HEAD}{names}{{
  \"name\": \"{CLASS}\",
  \"test\": \"{test}\",
  \"boot-file-name\": \"\\u0000\",
  \"option-data\": [
    {{ \"name\": \"vendor-class-identifier\", \"data\": \"PXEClient\", \"always-send\": true }}
  ]{next_server}
}}
"
    )
}

fn any(conditions: impl Iterator<Item = String>) -> String {
    conditions.collect::<Vec<_>>().join(" or ")
}
