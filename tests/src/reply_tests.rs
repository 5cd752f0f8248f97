//! The judge itself is judged: a right reply passes, and each broken rule is noticed.

use std::net::Ipv4Addr;

use super::*;
use crate::architecture::UEFI_X64;
use crate::frame::{Checksum, RequestFrame, VlanTag};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 3, 4);
const WINPE: &str = "winboot/new/";

/// A reply built from the builder of requests: the frame's layers are the same in both ways.
fn right_reply(request: &RequestFrame) -> RequestFrame {
    let expected = Expected::new(WINPE, UEFI_X64);
    let mut reply = RequestFrame {
        destination_mac: request.source_mac,
        source_mac: request.destination_mac,
        source: request.destination,
        destination: request.source,
        source_port: 4011,
        destination_port: request.source_port,
        op: 2,
        secs: 0,
        flags: 0,
        siaddr: SERVER_ADDRESS,
        ip_options: Vec::new(),
        minimum_length: 300,
        ..request.clone()
    };
    reply.file[..expected.loader.len()].copy_from_slice(expected.loader.as_bytes());
    reply.options = vec![
        (53, vec![5]),
        (54, request.destination.octets().to_vec()),
        (60, b"PXEClient".to_vec()),
        (97, request.option(97).unwrap().to_vec()),
        (252, format!("{}\0", expected.bcd).into_bytes()),
    ];
    reply
}

fn verdict(request: &RequestFrame, reply: &RequestFrame) -> Result<()> {
    check_reply(
        &request.bytes(),
        &reply.bytes(),
        &Expected::new(WINPE, UEFI_X64),
    )
}

#[test]
fn right_replies_pass() {
    let mut tagged = RequestFrame::wdsmgfw(CLIENT, UEFI_X64);
    tagged.vlan_tags = vec![VlanTag {
        protocol: 0x8100,
        control: 0x6064,
    }];
    let mut with_ip_options = RequestFrame::ipxe(CLIENT, UEFI_X64);
    with_ip_options.ip_options = vec![0x94, 4, 0, 0];
    for request in [
        RequestFrame::edk2(CLIENT, UEFI_X64),
        RequestFrame::legacy(CLIENT, UEFI_X64),
        tagged,
        with_ip_options,
    ] {
        let mut reply = right_reply(&request);
        reply.minimum_length = 300;
        verdict(&request, &reply).unwrap();
    }
}

#[test]
fn a_boot_item_must_be_echoed() {
    let request = RequestFrame::edk2_discovery(CLIENT, UEFI_X64, 1, 0);
    let mut reply = right_reply(&request);
    assert!(verdict(&request, &reply).is_err());
    reply.set_option(43, [71, 4, 0, 1, 0, 0]);
    verdict(&request, &reply).unwrap();
    reply.set_option(43, [71, 4, 0, 1, 0, 0, 255]);
    verdict(&request, &reply).unwrap();
    reply.set_option(43, [71, 4, 0, 2, 0, 0]);
    assert!(verdict(&request, &reply).is_err());
}

#[test]
fn an_odd_uuid_must_be_left_out() {
    let mut request = RequestFrame::edk2(CLIENT, UEFI_X64);
    let mut reply = right_reply(&request);
    request.set_option(97, [0; 16]);
    assert!(verdict(&request, &reply).is_err());
    reply.remove_option(97);
    verdict(&request, &reply).unwrap();
}

#[test]
fn split_and_overloaded_options_are_read_whole() {
    let mut request = RequestFrame::edk2(CLIENT, UEFI_X64);
    let reply = right_reply(&request);
    let uuid = request.option(97).unwrap().to_vec();
    request.set_option(97, &uuid[..9]);
    request.options.push((0, Vec::new()));
    request.set_option(52, [1]);
    request.file[0] = 97;
    request.file[1] = 8;
    request.file[2..10].copy_from_slice(&uuid[9..]);
    request.file[10] = END;
    verdict(&request, &reply).unwrap();
}

#[test]
fn every_broken_rule_is_noticed() {
    type Break = (&'static str, fn(&mut RequestFrame));
    let breaks: &[Break] = &[
        ("destination MAC", |r| r.destination_mac[5] ^= 1),
        ("source MAC", |r| r.source_mac[5] ^= 1),
        ("VLAN", |r| {
            r.vlan_tags.push(VlanTag {
                protocol: 0x8100,
                control: 7,
            });
        }),
        ("fragment", |r| r.more_fragments = true),
        ("IP header length", |r| r.ip_options = vec![1; 4]),
        ("TTL", |r| r.ttl = 1),
        ("IP checksum", |r| r.ip_checksum = Checksum::Wrong),
        ("source address", |r| r.source = CLIENT),
        ("destination address", |r| {
            r.destination = Ipv4Addr::BROADCAST;
        }),
        ("source port", |r| r.source_port = 67),
        ("destination port", |r| r.destination_port = 68),
        ("UDP length", |r| r.udp_length = Some(100)),
        ("no UDP checksum", |r| r.udp_checksum = Checksum::Zero),
        ("wrong UDP checksum", |r| r.udp_checksum = Checksum::Wrong),
        ("wrong UDP checksum", |r| {
            r.udp_checksum = Checksum::Unfinished;
        }),
        ("bytes after the packet", |r| r.trailer = vec![0]),
        ("op is", |r| r.op = 1),
        ("htype", |r| r.htype = 6),
        ("hlen", |r| r.hlen = 5),
        ("hops", |r| r.hops = 1),
        ("xid", |r| r.xid ^= 1),
        ("secs", |r| r.secs = 1),
        ("flags", |r| r.flags = 0x8000),
        ("ciaddr", |r| r.ciaddr = Ipv4Addr::UNSPECIFIED),
        ("yiaddr", |r| r.yiaddr = CLIENT),
        ("siaddr", |r| r.siaddr = Ipv4Addr::UNSPECIFIED),
        ("giaddr", |r| r.giaddr = SERVER_ADDRESS),
        ("chaddr", |r| r.chaddr[15] = 1),
        ("sname", |r| r.sname[0] = b'x'),
        ("file is", |r| r.file[0] = b'W'),
        ("file has bytes", |r| r.file[127] = b'x'),
        ("cookie", |r| r.cookie[0] = 0),
        ("option 53", |r| r.set_option(53, [2])),
        ("option 54", |r| r.set_option(54, [10, 77, 0, 2])),
        ("option 60", |r| r.set_option(60, *b"PXEClient\0")),
        ("option 97", |r| r.set_option(97, [0; 17])),
        ("option 252", |r| {
            r.set_option(252, *b"winboot/new/Boot/BCD");
        }),
        ("option 252 is missing", |r| r.remove_option(252)),
        ("option 97 is missing", |r| r.remove_option(97)),
        ("comes twice", |r| r.options.push((53, vec![5]))),
        ("option 43", |r| r.set_option(43, [71, 4, 0, 0, 0, 0])),
        ("option 66", |r| r.set_option(66, *b"10.77.0.1")),
        ("option 67", |r| r.set_option(67, *b"Boot/pxeboot.0")),
        ("option 13", |r| r.set_option(13, [0, 1])),
        ("option 52", |r| r.set_option(52, [1])),
        ("empty", |r| r.set_option(12, [])),
        ("pad", |r| r.options.insert(1, (0, Vec::new()))),
        ("no end option", |r| {
            r.tail.clear();
            r.minimum_length = 0;
            r.options.push((224, vec![0; 40]));
        }),
        ("bytes after the end", |r| r.tail = vec![END, 1]),
        ("fewer than 300", |r| {
            r.minimum_length = 0;
            r.remove_option(252);
        }),
        ("more than 548", |r| r.minimum_length = 549),
    ];
    let request = RequestFrame::edk2(CLIENT, UEFI_X64);
    for (rule, spoil) in breaks {
        let mut reply = right_reply(&request);
        spoil(&mut reply);
        let error = verdict(&request, &reply).expect_err(rule);
        let said = format!("{error:#}");
        assert!(said.contains(rule), "for {rule:?} it said: {said}");
    }
}
