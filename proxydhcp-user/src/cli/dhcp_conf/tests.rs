use std::fs;

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

/// The command's output, or its error.
fn run(args: &[&str]) -> Result<String> {
    let all = [&["proxydhcp", "dhcp-conf"], args].concat();
    let Command::DhcpConf(args) = Cli::try_parse_from(all)?.command else {
        unreachable!("no other command was given")
    };
    configuration(&args, &Loaders::default())
}

/// The command's output with a file of hardware addresses, or its error.
fn run_with(macs: &str, args: &[&str]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("macs");
    fs::write(&path, macs)?;
    run(&[args, &["--mac", path.to_str().unwrap()]].concat())
}

/// The lines that are neither blank nor comments.
fn lines(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '/']))
        .collect()
}

#[test]
fn all_clients_with_a_loader_are_handed_off() {
    let dnsmasq = run(&["dnsmasq"]).unwrap();
    assert_eq!(
        lines(&dnsmasq),
        [
            "dhcp-vendorclass=set:proxydhcp-pxe,PXEClient",
            "dhcp-match=set:proxydhcp-arch,option:client-arch,0",
            "dhcp-match=set:proxydhcp-arch,option:client-arch,7",
            "dhcp-match=set:proxydhcp-arch,option:client-arch,9",
            "tag-if=set:proxydhcp,tag:proxydhcp-pxe,tag:proxydhcp-arch",
            "dhcp-option-force=tag:proxydhcp,60,PXEClient",
            "dhcp-boot=tag:proxydhcp,,,",
        ]
    );
    let isc = run(&["isc"]).unwrap();
    for architecture in ["00:00", "00:07", "00:09"] {
        assert_eq!(isc.matches(&format!("= {architecture}")).count(), 1);
    }
    assert!(!isc.contains("\n    next-server") && !isc.contains("subclass"));
}

#[test]
fn nodes_are_known_by_their_hardware_addresses() {
    let macs = "\
# name first, or address first as in ethers(5)
node1 52:54:00:12:34:56
52-54-0-12-34-57 Node2.cluster # a comment
node3 52:54:00:12:34:58
node2 52:54:00:AA:bb:cc
";
    let both = ["node2,node1,node2", "--server", "10.0.0.5"];
    let isc = run_with(macs, &[&["isc"], &both[..]].concat()).unwrap();
    let subclasses: Vec<&str> = isc
        .lines()
        .filter(|line| line.starts_with("subclass"))
        .collect();
    assert_eq!(
        subclasses,
        [
            "subclass \"proxydhcp\" 1:52:54:00:12:34:57; # node2",
            "subclass \"proxydhcp\" 1:52:54:00:aa:bb:cc; # node2",
            "subclass \"proxydhcp\" 1:52:54:00:12:34:56; # node1",
        ]
    );
    assert!(isc.contains("\n    next-server 10.0.0.5;\n"));

    let kea = run_with(macs, &[&["kea"], &both[..]].concat()).unwrap();
    assert!(kea.contains(
        "(pkt4.mac == 0x525400123457 or pkt4.mac == 0x525400aabbcc or pkt4.mac == 0x525400123456)"
    ));
    assert!(kea.contains("\"next-server\": \"10.0.0.5\"\n"));

    let dnsmasq = run_with(macs, &[&["dnsmasq"], &both[..]].concat()).unwrap();
    let all = lines(&dnsmasq);
    assert!(all.contains(&"dhcp-mac=set:proxydhcp-node,52:54:00:aa:bb:cc"));
    assert!(
        all.contains(
            &"tag-if=set:proxydhcp,tag:proxydhcp-pxe,tag:proxydhcp-arch,tag:proxydhcp-node"
        )
    );
    assert!(all.contains(&"dhcp-boot=tag:proxydhcp,,,10.0.0.5"));
    assert!(!dnsmasq.contains("node3"));
}

#[test]
fn what_is_wrong_is_told_with_its_remedy() {
    let cases = [
        (
            "node1 52:54:00:12:34:56",
            "node1,node2,node3",
            "no hardware address of node2, node3; add",
        ),
        ("", "node1", "no hardware address of node1; add"),
        (
            "node1 52:54:00:12:34",
            "node1",
            "line 1 is not a name and a hardware address",
        ),
        (
            "\nnode1 node2",
            "node1",
            "line 2 is not a name and a hardware address",
        ),
        (
            "node1 52:54:00:12:34:5x",
            "node1",
            "line 1 is not a name and a hardware address",
        ),
        (
            "a 1:2:3:4:5:6:7",
            "node1",
            "line 1 is not a name and a hardware address",
        ),
        (
            "1:2:3:4:5:6 1:2:3:4:5:7",
            "node1",
            "line 1 is not a name and",
        ),
        ("node1 1:2:3:4:5:6 x", "node1", "line 1 is not two words"),
        (
            "a 1:2:3:4:5:6\nb 01:02:03:04:05:06",
            "a",
            "line 2: 01:02:03:04:05:06 is listed already",
        ),
        (
            "no\u{7}de 1:2:3:4:5:6",
            "a",
            "line 1: the name has a control character",
        ),
        ("a 1:2:3:4:5:6", "a,,b", "a name is missing here"),
        ("a 1:2:3:4:5:6", "", "a name is missing here"),
    ];
    for (macs, range, expected) in cases {
        let error = format!("{:#}", run_with(macs, &["isc", range]).unwrap_err());
        assert!(error.contains(expected), "{macs:?}, {range:?}: {error}");
    }
    let error = format!(
        "{:#}",
        run(&["isc", "a", "--mac", "/nonexistent"]).unwrap_err()
    );
    assert!(error.contains("/nonexistent"), "{error}");
    // Without a range, nothing would read the file.
    assert!(run(&["isc", "--mac", "/etc/ethers"]).is_err());
}
