//! Configuration for dnsmasq.

use std::fmt::Write;

use super::{CLASS, HandOff};

const HEAD: &str = "\
# Hands nodes off to proxydhcp; made by `proxydhcp dhcp-conf dnsmasq`.
# The last line of dnsmasq.conf: conf-file=/etc/proxydhcp.dnsmasq
# The last dhcp-boot wins; Debian reads dnsmasq.conf after the files in /etc/dnsmasq.d. There must be no
# pxe-service (dnsmasq would answer on port 4011 itself), and no option 67 for these nodes.
";

/// A configuration file.
pub(super) fn text(hand_off: &HandOff) -> String {
    let mut text = format!("{HEAD}\ndhcp-vendorclass=set:{CLASS}-pxe,PXEClient\n");
    let mut tags = format!("tag:{CLASS}-pxe,tag:{CLASS}-arch");
    // Writing to a string cannot fail.
    for number in &hand_off.architectures {
        let _ = writeln!(
            text,
            "dhcp-match=set:{CLASS}-arch,option:client-arch,{number}"
        );
    }
    if let Some(nodes) = &hand_off.nodes {
        let _ = write!(tags, ",tag:{CLASS}-node");
        for node in nodes {
            let _ = writeln!(text, "# {}", node.name);
            let _ = writeln!(text, "dhcp-mac=set:{CLASS}-node,{}", node.mac);
        }
    }
    let _ = writeln!(text, "tag-if=set:{CLASS},{tags}");
    let _ = writeln!(text, "dhcp-option-force=tag:{CLASS},60,PXEClient");
    let server = hand_off
        .server
        .map_or_else(String::new, |server| server.to_string());
    let _ = writeln!(text, "dhcp-boot=tag:{CLASS},,,{server}");
    text
}
