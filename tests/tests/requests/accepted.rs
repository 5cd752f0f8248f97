//! Requests that look odd and are right: they are answered like any other.

use std::net::Ipv4Addr;

use anyhow::Result;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{NODE_A, NODE_B, Site};
use proxydhcp_lab::{Checksum, RequestFrame};

use crate::exchange::{Case, on_every_datapath};

#[test]
fn odd_requests_are_answered() -> Result<()> {
    on_every_datapath(|datapath| {
        let mut site = Site::usual(datapath)?;
        let replies: Result<Vec<_>> = cases().iter().map(|case| case.ask(&mut site)).collect();
        let counters = site.counters()?;
        assert_eq!(counters["refused"], serde_json::json!({}), "{counters}");
        replies
    })
}

/// A UEFI client's request, changed.
fn but(name: &str, change: impl FnOnce(&mut RequestFrame)) -> Case {
    let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
    change(&mut request);
    Case::new(name, request, "winboot/a/", UEFI_X64)
}

fn cases() -> Vec<Case> {
    [headers(), fields(), options(), ends()]
        .into_iter()
        .flatten()
        .collect()
}

fn headers() -> Vec<Case> {
    vec![
        but("no UDP checksum", |r| r.udp_checksum = Checksum::Zero),
        but("a TTL of 1", |r| r.ttl = 1),
        but("a type of service", |r| r.type_of_service = 0xb8),
        but("an IP identification", |r| {
            r.ip_id = 0xbeef;
            r.dont_fragment = false;
        }),
        but("a trailer", |r| r.trailer = vec![0xee; 7]),
        but("Ethernet padding", |r| r.trailer = vec![0; 60]),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        but("a GUID for a hardware address", |r| {
            r.htype = 6;
            r.hlen = 16;
            r.chaddr = *b"sixteen bytes ID";
        }),
        but("no hlen", |r| r.hlen = 0),
        but("no ciaddr", |r| r.ciaddr = Ipv4Addr::UNSPECIFIED),
        Case::new(
            "no ciaddr, of another client",
            RequestFrame {
                ciaddr: Ipv4Addr::UNSPECIFIED,
                ..RequestFrame::ipxe(NODE_B, UEFI_X64)
            },
            "winboot/b/",
            UEFI_X64,
        ),
        but("a transaction number of 0", |r| r.xid = 0),
        Case::new(
            "the same of another client",
            RequestFrame {
                xid: 0,
                ..RequestFrame::edk2(NODE_B, UEFI_X64)
            },
            "winboot/b/",
            UEFI_X64,
        ),
        but("the broadcast flag", |r| r.flags = 0x8000),
        // ROMs leave there what they have received before: none of it may come back.
        but("every field in use", |r| {
            r.hops = 3;
            r.secs = 0xffff;
            r.flags = 0x7fff;
            r.yiaddr = [10, 77, 1, 77].into();
            r.siaddr = [10, 77, 0, 77].into();
            r.sname = [b's'; 64];
            r.file = [b'f'; 128];
        }),
    ]
}

fn options() -> Vec<Case> {
    vec![
        but("INFORM", |r| r.set_option(53, [8])),
        but("INFORM without ciaddr", |r| {
            r.set_option(53, [8]);
            r.ciaddr = Ipv4Addr::UNSPECIFIED;
        }),
        // As of a BIOS client, if it counted: then its reply would name the other loader.
        but("an option 93 of odd length", |r| {
            r.set_option(93, [0, 0, 0]);
        }),
        but("an empty option 93", |r| r.set_option(93, [])),
        but("no option 93", |r| r.remove_option(93)),
        but("architecture 9 in the class alone", |r| {
            r.set_option(60, *b"PXEClient:Arch:00009");
            r.remove_option(93);
        }),
        but("option 93 against the class", |r| {
            r.set_option(60, *b"PXEClient:Arch:00000:UNDI:002001");
        }),
        but("two architectures, the second with a loader", |r| {
            r.set_option(93, [0, 11, 0, 7]);
        }),
        but(
            "two architectures with loaders, of which the first counts",
            |r| {
                r.set_option(93, [0, 7, 0, 0]);
            },
        ),
        but("a class that ends in NUL", |r| {
            r.set_option(60, *b"PXEClient:Arch:00007:UNDI:003016\0");
        }),
        but("no UUID", |r| r.remove_option(97)),
        but("a UUID too short", |r| r.set_option(97, [0; 16])),
        but("a UUID too long", |r| r.set_option(97, [0; 18])),
        but("an empty UUID", |r| r.set_option(97, [])),
        but("a UUID of type 1", |r| {
            r.set_option(97, *b"\x01sixteen bytes ID");
        }),
    ]
}

fn ends() -> Vec<Case> {
    vec![
        but("no end option", |r| r.tail = Vec::new()),
        but("zeros behind the end option", |r| {
            r.tail = [&[255][..], &[0; 300]].concat();
        }),
        but("anything behind the end option", |r| {
            r.tail = vec![255, 53, 1, 1, 12, 99];
        }),
        but("an odd length", |r| {
            r.tail = if r.bootp().len() % 2 == 0 {
                vec![255, 0]
            } else {
                vec![255]
            }
        }),
        but("an even length", |r| {
            r.tail = if r.bootp().len() % 2 == 0 {
                vec![255]
            } else {
                vec![255, 0]
            }
        }),
    ]
}
