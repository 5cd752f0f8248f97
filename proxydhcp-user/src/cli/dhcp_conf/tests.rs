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
    let (text, left_out) = configuration(&args, &Loaders::default())?;
    Ok([vec![text], left_out].concat().join("\n"))
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
    assert!(isc.contains("\n    next-server 0.0.0.0;\n") && !isc.contains("subclass"));
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
fn a_class_that_is_defined_earlier_is_told_too() {
    let isc = run(&["isc"]).unwrap();
    assert_eq!(isc.matches("class \"pxeclients\" {").count(), 1);
    let isc = run(&["isc", "--class", "UEFI 64", "--class=Legacy"]).unwrap();
    for class in ["UEFI 64", "Legacy"] {
        let part =
            format!("class \"{class}\" {{\n  if config-option proxydhcp.handed-off = \"yes\" {{");
        assert!(isc.contains(&part), "{isc}");
    }
    assert!(!isc.contains("pxeclients"));
    assert!(run(&["isc", "--class", "a\"b"]).is_err());
}

#[test]
fn lines_that_are_left_out_are_told() {
    let macs = "n1 525400123456\nn2 80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1\n";
    let text = run_with(macs, &["dnsmasq", "n1"]).unwrap();
    assert!(
        text.contains("dhcp-mac=set:proxydhcp-node,52:54:00:12:34:56\n"),
        "{text}"
    );
    let told = "line 2: left out: an address of 20 bytes, as InfiniBand has,";
    assert!(text.contains(told), "{text}");
    let error = run_with(macs, &["dnsmasq", "n1,n2"])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no hardware address of n2; add lines") && error.contains(told),
        "{error}"
    );
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
            "line 1: left out: there is no hardware address",
        ),
        (
            "\nnode1 node2",
            "node1",
            "line 2: left out: there is no hardware address",
        ),
        (
            "1:2:3:4:5:6 1:2:3:4:5:7",
            "node1",
            "line 1: left out: there is no name",
        ),
        (
            "a 0:2:3:4:5:6\nb 00:02:03:04:05:06",
            "b",
            "00:02:03:04:05:06 is an address of a already",
        ),
        ("a 0:2:3:4:5:6", "a,,b", "a name is missing here"),
        ("a 0:2:3:4:5:6", "", "a name is missing here"),
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
