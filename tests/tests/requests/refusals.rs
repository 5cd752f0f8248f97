//! Packets that no PXE client sends get no reply, and are counted by the rule that they break.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use proxydhcp_lab::architecture::{HTTP_X64, UEFI_ARM64, UEFI_IA32, UEFI_X64};
use proxydhcp_lab::site::{Datapath, NODE_A, STRANGER, Site};
use proxydhcp_lab::{Checksum, RequestFrame, SERVER_ADDRESS};

use crate::silence::Silence;

/// A name, a frame, and the reason that it is refused for.
type Row = (String, Vec<u8>, &'static str);

#[test]
fn each_rule_has_its_reason() -> Result<()> {
    let rows: Vec<Row> = [bootp(), messages(), addresses(), options(), wire()].concat();
    for datapath in Datapath::ALL {
        let mut silence = Silence::new(Site::usual(datapath)?);
        for (name, frame, reason) in &rows {
            silence
                .refuses(frame, reason)
                .with_context(|| format!("{datapath:?}: {name}"))?;
        }
    }
    Ok(())
}

/// A right request, changed.
fn but(name: &str, reason: &'static str, change: impl FnOnce(&mut RequestFrame)) -> Row {
    let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
    change(&mut request);
    (name.to_owned(), request.bytes(), reason)
}

fn bootp() -> Vec<Row> {
    let cut = RequestFrame::edk2(NODE_A, UEFI_X64).bootp()[..240].to_vec();
    // A datagram of 27 bytes that once brought a responder down.
    let stray = b"default send string".to_vec();
    vec![
        but("a reply", "op", |r| r.op = 2),
        but("op 0", "op", |r| r.op = 0),
        but("another cookie", "cookie", |r| r.cookie = [99, 130, 83, 98]),
        but("no cookie", "cookie", |r| r.cookie = [0; 4]),
        but("no room for options", "short", |r| r.payload = Some(cut)),
        but("a few letters", "short", |r| r.payload = Some(stray)),
        but("an empty datagram", "short", |r| {
            r.payload = Some(Vec::new());
        }),
        but("an hlen of 17", "hardware-address", |r| r.hlen = 17),
        but("an hlen of 255", "hardware-address", |r| r.hlen = 255),
        but("by a relay", "relayed", |r| {
            r.giaddr = Ipv4Addr::new(10, 77, 0, 9);
        }),
    ]
}

fn messages() -> Vec<Row> {
    let mut rows: Vec<Row> = [(1, "DISCOVER"), (2, "OFFER"), (5, "ACK"), (7, "RELEASE")]
        .into_iter()
        .map(|(kind, name)| but(name, "message-type", |r| r.set_option(53, [kind])))
        .collect();
    rows.push(but("no message type", "message-type", |r| {
        r.remove_option(53);
    }));
    rows.push(but("a long message type", "message-type", |r| {
        r.set_option(53, [3, 3]);
    }));
    rows.push(but("an empty message type", "message-type", |r| {
        r.set_option(53, []);
    }));
    rows
}

fn addresses() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [240, 0, 0, 1],
        [255; 4],
    ]
    .into_iter()
    .map(|octets| {
        let request = RequestFrame {
            source: octets.into(),
            ciaddr: octets.into(),
            ..RequestFrame::edk2(NODE_A, UEFI_X64)
        };
        (
            format!("from {}", request.source),
            request.bytes(),
            "source-address",
        )
    })
    .collect();
    rows.extend([0, 67, 69, 4010, 4012].map(|port| {
        but(&format!("from port {port}"), "source-port", |r| {
            r.source_port = port;
        })
    }));
    rows.extend([
        but("from a group of hosts", "source-address", |r| {
            r.source_mac[0] |= 1;
        }),
        but("half a ciaddr", "client-address", |r| {
            r.ciaddr = Ipv4Addr::new(10, 77, 0, 0);
        }),
        but("no ciaddr, and no address", "source-address", |r| {
            r.ciaddr = Ipv4Addr::UNSPECIFIED;
            r.source = Ipv4Addr::UNSPECIFIED;
        }),
        but("another's ciaddr", "client-address", |r| {
            r.ciaddr = Ipv4Addr::new(10, 77, 1, 2);
        }),
        (
            "from no node".to_owned(),
            RequestFrame::edk2(STRANGER, UEFI_X64).bytes(),
            "unknown-client",
        ),
        (
            "from the server itself".to_owned(),
            RequestFrame::edk2(SERVER_ADDRESS, UEFI_X64).bytes(),
            "unknown-client",
        ),
    ]);
    rows
}

fn options() -> Vec<Row> {
    let class = |architecture: u16| format!("PXEClient:Arch:{architecture:05}:UNDI:003016");
    let mut rows = vec![
        but("no class", "vendor-class", |r| r.remove_option(60)),
        but("an HTTP client", "vendor-class", |r| {
            r.set_option(60, *b"HTTPClient:Arch:00007:UNDI:003016");
        }),
        but("a class cut short", "vendor-class", |r| {
            r.set_option(60, *b"PXEClien");
        }),
        but("no architecture", "architecture", |r| {
            r.set_option(60, *b"PXEClient");
            r.remove_option(93);
        }),
        but("half an architecture", "architecture", |r| {
            r.set_option(60, class(6));
            r.set_option(93, [0, 7, 0]);
        }),
        but("another vendor's class", "vendor-class", |r| {
            r.set_option(60, *b"HW-Client:Arch:00007:UNDI:003016");
        }),
        but(
            "bytes swapped, and nothing that tells so",
            "architecture",
            |r| {
                r.set_option(60, *b"PXEClient");
                r.set_option(93, [7, 0]);
            },
        ),
        but(
            "bytes swapped that the class does not confirm",
            "architecture",
            |r| {
                r.set_option(60, class(9));
                r.set_option(93, [7, 0]);
            },
        ),
        but("bytes swapped of no loader", "architecture", |r| {
            r.set_option(60, class(UEFI_IA32));
            r.set_option(93, UEFI_IA32.to_le_bytes());
        }),
        but("an architecture in letters", "architecture", |r| {
            r.set_option(60, *b"PXEClient:Arch:0000x:UNDI:003016");
            r.remove_option(93);
        }),
        but("an option past the end", "options", |r| {
            r.options.push((12, b"name".to_vec()));
            let mut cut = r.bootp();
            cut.truncate(cut.len() - 2);
            r.payload = Some(cut);
        }),
        // The packet's end counts, not the frame's.
        but("an option that ends in the trailer", "options", |r| {
            r.tail = vec![12, 1];
            r.trailer = vec![255; 20];
        }),
        but("an option with its length in the trailer", "options", |r| {
            r.tail = vec![12];
            r.trailer = vec![0; 20];
        }),
        but("an option without its length", "options", |r| {
            r.tail = vec![12];
        }),
        but(
            "an option of 255 bytes that are not there",
            "options",
            |r| r.tail = vec![12, 255],
        ),
    ];
    rows.extend([UEFI_IA32, UEFI_ARM64, HTTP_X64].map(|architecture| {
        but(
            &format!("architecture {architecture}"),
            "architecture",
            |r| {
                r.set_option(60, class(architecture));
                r.set_option(93, architecture.to_be_bytes());
            },
        )
    }));
    // Option 93 is the truth, whatever option 60 says.
    rows.push(but(
        "architecture 6 that calls itself 7",
        "architecture",
        |r| r.set_option(93, UEFI_IA32.to_be_bytes()),
    ));
    rows
}

fn wire() -> Vec<Row> {
    let cut = |length: usize| {
        let mut frame = RequestFrame::edk2(NODE_A, UEFI_X64).bytes();
        frame.truncate(length);
        (format!("a frame cut to {length} bytes"), frame, "length")
    };
    let length = |change: i32| {
        let bootp = RequestFrame::edk2(NODE_A, UEFI_X64).bootp().len();
        u16::try_from(i32::try_from(bootp).unwrap() + change).unwrap()
    };
    vec![
        but("a first fragment", "fragment", |r| {
            r.dont_fragment = false;
            r.more_fragments = true;
        }),
        cut(14 + 28),
        cut(14 + 28 + 240),
        but("UDP longer than IP", "length", |r| {
            r.udp_length = Some(length(8 + 1));
        }),
        but("UDP shorter than IP", "length", |r| {
            r.udp_length = Some(length(8 - 1));
        }),
        but("UDP shorter than its header", "length", |r| {
            r.ip_total_length = Some(20 + 7);
            r.udp_length = Some(7);
        }),
        but("IP longer than the frame", "length", |r| {
            r.ip_total_length = Some(length(28 + 1));
            r.udp_length = Some(length(8 + 1));
        }),
        but("IP shorter than its UDP", "length", |r| {
            r.ip_total_length = Some(length(28 - 1));
        }),
        but("a wrong IP checksum", "checksum", |r| {
            r.ip_checksum = Checksum::Wrong;
        }),
        but("no IP checksum", "checksum", |r| {
            r.ip_checksum = Checksum::Zero;
        }),
        but("a wrong UDP checksum", "checksum", |r| {
            r.udp_checksum = Checksum::Wrong;
        }),
        // Only the kernel's flag distinguishes it from a sum that the sender's device was to
        // finish.
        but("a forged unfinished UDP checksum", "checksum", |r| {
            r.udp_checksum = Checksum::Unfinished;
        }),
    ]
}
