//! Configuration for ISC dhcpd.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::{CLASS, HandOff};

const HEAD: &str = "\
# Hands nodes off to proxydhcp; made by `proxydhcp dhcp-conf isc`.
# In dhcpd.conf, before all classes: include \"/etc/dhcp/proxydhcp.conf\";
# This wins over the file names and next-server of all, of a subnet or pool and of classes defined
# later, but not over those of a host declaration. A class that is defined earlier would win: name it
# with --class, and include this behind it.
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
    let statements = statements(hand_off.server);
    let classes: String = hand_off
        .classes
        .iter()
        .map(|class| reopened(class, &statements))
        .collect();
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
option space {CLASS};
# Not sent; for the classes below.
option {CLASS}.handed-off code 1 = text;

class \"{CLASS}\" {{
  {matches}
  if {and}({}) {{
    option {CLASS}.handed-off \"yes\";
{statements}  }}
}}
{subclasses}{classes}",
        architectures.join("\n        or ")
    )
}

/// What an offer needs: option 60, even if the client does not request it, and nothing to boot.
fn statements(server: Option<Ipv4Addr>) -> String {
    // Clients take siaddr for the server to ask; 0.0.0.0 leads them to the DHCP server itself.
    let next_server = server.unwrap_or(Ipv4Addr::UNSPECIFIED);
    format!(
        "    option vendor-class-identifier \"PXEClient\";
    if exists dhcp-parameter-request-list {{
      option dhcp-parameter-request-list = concat(3c, option dhcp-parameter-request-list);
    }}
    filename \"\";
    option bootfile-name \"\";
    option vendor-encapsulated-options \"\";
    next-server {next_server};
"
    )
}

/// The second part of a class that another file has defined. It also comes into effect if that is
/// defined later, where it changes nothing.
fn reopened(class: &str, statements: &str) -> String {
    format!(
        "
class \"{class}\" {{
  if config-option {CLASS}.handed-off = \"yes\" {{
{statements}  }}
}}
"
    )
}

const PXE_CLIENT: &str = "substring(option vendor-class-identifier, 0, 9) = \"PXEClient\"";
