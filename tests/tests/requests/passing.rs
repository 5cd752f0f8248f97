//! Packets that are not requests to this host's port 4011 pass as if no daemon were there.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context, Result};
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site};
use proxydhcp_lab::{
    CLIENT_ADDRESS, CLIENT_MAC, RequestFrame, SERVER_ADDRESS, SERVER_INTERFACE, SERVER_MAC, Tap,
    VlanTag, client_mac,
};

use serde_json::json;

use crate::exchange::{PATIENCE, counts, left_to_daemon};
use crate::silence::Silence;

#[test]
fn frames_of_others_pass_untouched_and_only_those_to_port_4011_are_counted() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut silence = Silence::new(Site::usual(datapath)?);
        let mut stack = Tap::open(&silence.site.lab.server, SERVER_INTERFACE)?;
        for (name, frame) in &frames() {
            let told = || format!("{datapath:?}: {name}");
            let mut wanted = silence.site.counters()?;
            silence.keeps(frame).with_context(told)?;
            // Those of the requests that are answered behind it, and no other.
            let left = left_to_daemon(datapath, 1, 1);
            add(&mut wanted["answered"], 2);
            add(&mut wanted["handed_up"], left);
            // The XDP program and the daemon both see what passes.
            let is_found = TO_ANOTHER_HOST.contains(name);
            let passed = if is_found {
                1 + u64::from(datapath != Datapath::Raw)
            } else {
                0
            };
            add(&mut wanted["passed"], passed);
            add(&mut wanted["received"], 2 + left + passed);
            counts(&silence.site, "", &wanted).with_context(told)?;
            passes(&mut stack, frame).with_context(told)?;
        }
    }
    Ok(())
}

#[test]
fn broadcasts_are_counted_by_themselves_and_left_to_others() -> Result<()> {
    let to_all = |mac: [u8; 6]| RequestFrame {
        destination_mac: mac,
        destination: Ipv4Addr::BROADCAST,
        ..RequestFrame::edk2(NODE_A, UEFI_X64)
    };
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        let mut stack = Tap::open(&site.lab.server, SERVER_INTERFACE)?;
        for mac in [[255; 6], SERVER_MAC] {
            let frame = to_all(mac).bytes();
            site.stays_silent(&frame)?;
            passes(&mut stack, &frame).with_context(|| format!("{datapath:?}"))?;
        }
        // The XDP program and the daemon both see what passes.
        let seen = 2 * (1 + u64::from(datapath != Datapath::Raw));
        counts(&site, "/refused", &json!({ "broadcast": seen }))?;
        counts(&site, "/passed", &json!(0))?;
    }
    Ok(())
}

fn add(counter: &mut serde_json::Value, more: u64) {
    *counter = (counter.as_u64().unwrap() + more).into();
}

/// Waits for a frame as it was sent, among others.
fn passes(stack: &mut Tap, sent: &[u8]) -> Result<()> {
    loop {
        let frame = stack.receive(PATIENCE)?;
        if frame.context("it does not reach the network stack as it was sent")? == sent {
            return Ok(());
        }
    }
}

/// The frames that go to port 4011, and not to this host.
const TO_ANOTHER_HOST: [&str; 3] = [
    "UDP to another host",
    "UDP to all hosts of the network",
    "UDP to a node",
];

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let cut = |length| RequestFrame::edk2(NODE_A, UEFI_X64).bytes()[..length].to_vec();
    let but = |change: &dyn Fn(&mut RequestFrame)| {
        let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
        change(&mut request);
        request.bytes()
    };
    vec![
        (
            "a later fragment",
            but(&|r| {
                r.dont_fragment = false;
                r.fragment_offset = 1;
            }),
        ),
        (
            "a later fragment of more",
            but(&|r| {
                r.dont_fragment = false;
                r.more_fragments = true;
                r.fragment_offset = 185;
            }),
        ),
        ("UDP to port 67", but(&|r| r.destination_port = 67)),
        ("UDP to port 4010", but(&|r| r.destination_port = 4010)),
        // 4011 with its bytes swapped.
        (
            "UDP to port 43791",
            but(&|r| r.destination_port = 4011_u16.swap_bytes()),
        ),
        ("TCP to port 4011", but(&|r| r.protocol = 6)),
        (
            "UDP to another host",
            but(&|r| r.destination = Ipv4Addr::new(10, 77, 0, 99)),
        ),
        (
            "UDP to all hosts of the network",
            but(&|r| r.destination = Ipv4Addr::new(10, 77, 255, 255)),
        ),
        ("UDP to a node", but(&|r| r.destination = NODE_A)),
        (
            "an IP header of 16 bytes",
            but(&|r| r.ip_header_words = Some(4)),
        ),
        (
            "three VLAN tags",
            but(&|r| {
                r.vlan_tags = vec![
                    VlanTag {
                        protocol: 0x8100,
                        control: 5
                    };
                    3
                ];
            }),
        ),
        ("another protocol than IP", but(&|r| r.ether_type = 0x88b5)),
        (
            "IPv4 that calls itself IPv6",
            but(&|r| r.ether_type = 0x86dd),
        ),
        ("IPv6 UDP to port 4011", ipv6()),
        ("ARP for another host", arp(Ipv4Addr::new(10, 77, 0, 99))),
        (
            "a frame without a packet",
            [&SERVER_MAC[..], &client_mac(NODE_A), &[8, 0]].concat(),
        ),
        ("an IP packet cut short", cut(14 + 19)),
        ("a UDP datagram cut short", cut(14 + 20 + 7)),
    ]
}

/// A request as UDP over IPv6.
fn ipv6() -> Vec<u8> {
    let request = RequestFrame::edk2(NODE_A, UEFI_X64);
    let whole = request.bytes();
    let udp = &whole[request.udp_offset()..];
    let mut frame = [&SERVER_MAC[..], &client_mac(NODE_A), &[0x86, 0xdd]].concat();
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(u16::try_from(udp.len()).unwrap().to_be_bytes());
    frame.extend([17, 64]);
    for host in [2, 1] {
        frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    frame.extend(udp);
    frame
}

/// A question for the hardware address of `wanted`, by the client's interface.
fn arp(wanted: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &CLIENT_MAC, &[0x08, 0x06]].concat();
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(CLIENT_MAC);
    frame.extend(CLIENT_ADDRESS.octets());
    frame.extend([0; 6]);
    frame.extend(wanted.octets());
    frame
}

#[test]
fn other_services_of_the_host_go_on() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        let socket = site
            .lab
            .server
            .run(|| Ok(UdpSocket::bind((SERVER_ADDRESS, 67))?))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let request = RequestFrame {
            destination_port: 67,
            ..RequestFrame::ipxe(NODE_A, BIOS)
        };
        site.tap.send(&request.bytes())?;
        let mut buffer = [0; 600];
        let (length, from) = socket
            .recv_from(&mut buffer)
            .with_context(|| format!("{datapath:?}"))?;
        assert_eq!(buffer[..length], request.bootp(), "{datapath:?}");
        assert_eq!(from, (NODE_A, 68).into(), "{datapath:?}");

        site.tap.send(&arp(SERVER_ADDRESS))?;
        let answer = receive(&mut site.tap, |frame| {
            frame[12..14] == [0x08, 0x06] && frame[21] == 2
        })?;
        assert_eq!(answer[22..28], SERVER_MAC, "{datapath:?}");
    }
    Ok(())
}

#[test]
fn nobody_is_told_that_the_port_is_closed() -> Result<()> {
    for datapath in Datapath::ALL {
        // The node is the client interface itself, so that the server's kernel can reach it.
        let files = Files::new()?;
        files.write_config(&[("node", "winboot/a/")])?;
        files.write_hosts(&[("10.77.255.254", "node")])?;
        let mut site = Site::start(datapath, files, &[])?;
        let plain = RequestFrame {
            source_mac: CLIENT_MAC,
            ..RequestFrame::edk2(CLIENT_ADDRESS, UEFI_X64)
        };
        let handed_up = [
            RequestFrame {
                ip_options: vec![1; 4],
                ..plain.clone()
            },
            RequestFrame {
                ip_options: vec![1; 4],
                op: 2,
                ..plain.clone()
            },
            RequestFrame {
                source_mac: CLIENT_MAC,
                ..RequestFrame::edk2_discovery(CLIENT_ADDRESS, UEFI_X64, 0, 0)
            },
        ];
        for request in &handed_up {
            site.tap.send(&request.bytes())?;
        }
        let closed = RequestFrame {
            destination_port: 4012,
            ..plain
        };
        site.tap.send(&closed.bytes())?;

        let first = receive(&mut site.tap, is_icmp).with_context(|| format!("{datapath:?}"))?;
        let (unreachable, quoted_port) = (&first[34..36], &first[14 + 20 + 8 + 20 + 2..][..2]);
        assert_eq!(unreachable, [3, 3], "{datapath:?}");
        assert_eq!(quoted_port, 4012_u16.to_be_bytes(), "{datapath:?}");
    }
    Ok(())
}

fn is_icmp(frame: &[u8]) -> bool {
    frame[12..14] == [0x08, 0x00] && frame[23] == 1
}

/// The first frame that is wanted.
fn receive(tap: &mut Tap, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
    loop {
        let frame = tap.receive(PATIENCE)?.context("it does not come")?;
        if wanted(&frame) {
            return Ok(frame);
        }
    }
}
