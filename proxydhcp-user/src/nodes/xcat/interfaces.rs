//! The interfaces on which xCAT has the DHCP server of this host listen: `site.dhcpinterfaces`.

use std::path::Path;
use std::time::{Duration, Instant};

use super::site::is_same_host;
use super::table::{TABDUMP, Tabdump, TableError};

/// The names of these interfaces; none if xCAT does not name any for the host `host`. The tables
/// are read from xCAT's database itself, because xcatd may wait for the caller, and within `limit`.
///
/// # Errors
/// If the tables cannot be read in time.
pub(crate) fn dhcp_interfaces(host: &str, limit: Duration) -> Result<Vec<String>, TableError> {
    let end = Instant::now() + limit;
    let mut tabdump = Tabdump {
        program: Path::new(TABDUMP),
        limit,
        bypass: true,
    };
    let site = tabdump.read("site", &["key", "value"])?;
    let value = site.get("dhcpinterfaces", "value").unwrap_or_default();
    let groups = if value.contains('|') {
        tabdump.limit = end.saturating_duration_since(Instant::now());
        let nodes = tabdump.read("nodelist", &["node", "groups"])?;
        let mut own = nodes.keys().filter(|node| is_same_host(node, host));
        let groups = own.next().and_then(|node| nodes.get(node, "groups"));
        groups.unwrap_or_default().to_owned()
    } else {
        String::new()
    };
    Ok(parse(value, host, &groups))
}

/// Parses such as `eth1,eth2:noboot` or `mn|eth1:noboot;service|bond0`, for a host of these groups.
fn parse(value: &str, host: &str, groups: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for part in value.split(';') {
        let (of, names) = part.split_once('|').unwrap_or(("", part));
        let is_group = |name: &str| groups.split(',').any(|group| group.trim() == name);
        let is_meant = |name: &str| is_same_host(name, host) || is_group(name);
        if !of.is_empty() && !of.split(',').map(str::trim).any(is_meant) {
            continue;
        }
        for name in names.split(',') {
            let name = name.split(':').next().unwrap_or_default().trim();
            // `!remote!` stands for networks behind a relay, `noboot` for an interface on which
            // xCAT's own kernel is not offered.
            let is_name = !name.is_empty() && !name.contains('!');
            if is_name && !found.iter().any(|known| known == name) {
                found.push(name.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_interfaces_are_found() {
        for (value, expected) in [
            ("", ""),
            ("eth1", "eth1"),
            ("eth1:noboot, eth2,!remote!,eth1", "eth1 eth2"),
            ("mn|eth1:noboot,eth3;service|bond0", "eth1 eth3"),
            ("MN.cluster|eth1;service|bond0", "eth1"),
            ("sn1|eth1;rack,service|bond0", ""),
            ("sn1|eth1;rack,mgmt|bond0;all|eth5", "bond0 eth5"),
        ] {
            let found = parse(value, "mn", "all,mgmt").join(" ");
            assert_eq!(found, expected, "{value}");
        }
    }
}
