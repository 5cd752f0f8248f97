//! The slow path applies all rules to requests that only it can read.

use anyhow::{Context, Result};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Datapath, NODE_A, STRANGER, Site};
use proxydhcp_lab::{Checksum, RequestFrame, VlanTag};

use crate::silence::Silence;

/// A name, a frame, and the reason that it is refused for.
type Row = (&'static str, Vec<u8>, &'static str);

#[test]
fn unusual_requests_keep_the_rules_too() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut silence = Silence::new(Site::usual(datapath)?);
        for (name, frame, reason) in [headers(), options()].concat() {
            silence
                .refuses(&frame, reason)
                .with_context(|| format!("{datapath:?}: {name}"))?;
        }
    }
    Ok(())
}

/// A right request, changed.
fn but(name: &'static str, reason: &'static str, change: impl FnOnce(&mut RequestFrame)) -> Row {
    let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
    change(&mut request);
    (name, request.bytes(), reason)
}

/// Any IP options will do to get there.
fn to_slow_path(request: &mut RequestFrame) {
    request.ip_options = vec![0x94, 4, 0, 0];
}

fn headers() -> Vec<Row> {
    let stranger = RequestFrame {
        ip_options: vec![1; 4],
        ..RequestFrame::edk2(STRANGER, UEFI_X64)
    };
    let tag = VlanTag {
        protocol: 0x8100,
        control: 5,
    };
    vec![
        (
            "IP options from no node",
            stranger.bytes(),
            "unknown-client",
        ),
        but("IP options under a wrong IP checksum", "checksum", |r| {
            to_slow_path(r);
            r.ip_checksum = Checksum::Wrong;
        }),
        but("IP options and a wrong UDP checksum", "checksum", |r| {
            to_slow_path(r);
            r.udp_checksum = Checksum::Wrong;
        }),
        but("IP options and a first fragment", "fragment", |r| {
            to_slow_path(r);
            r.more_fragments = true;
        }),
        but("IP options and lengths that disagree", "length", |r| {
            to_slow_path(r);
            r.udp_length = Some(300);
        }),
        but(
            "IP options and a total length within the header",
            "length",
            |r| {
                to_slow_path(r);
                r.ip_total_length = Some(22);
            },
        ),
        but(
            "IP options and a total length past the frame",
            "length",
            |r| {
                to_slow_path(r);
                r.ip_total_length = Some(1400);
                r.udp_length = Some(1376);
            },
        ),
        but("IP options from port 69", "source-port", |r| {
            to_slow_path(r);
            r.source_port = 69;
        }),
        but("IP options and a reply", "op", |r| {
            to_slow_path(r);
            r.op = 2;
        }),
        but("to a group, from a group", "source-address", |r| {
            r.destination_mac = [0xff; 6];
            r.source_mac[0] |= 1;
        }),
        but("a giaddr, and two VLAN tags", "relayed", |r| {
            r.giaddr = [10, 77, 0, 9].into();
            r.vlan_tags = vec![tag; 2];
        }),
    ]
}

fn options() -> Vec<Row> {
    vec![
        but("a message type in two parts", "message-type", |r| {
            r.options.push((53, vec![3]));
        }),
        but("another message type in sname", "message-type", |r| {
            r.options.push((52, vec![2]));
            r.sname[..4].copy_from_slice(&[53, 1, 1, 255]);
        }),
        but("a class cut in two, and wrong", "vendor-class", |r| {
            r.set_option(60, *b"PXE");
            r.options.push((60, b"Server".to_vec()));
        }),
        but("architectures without a loader", "architecture", |r| {
            r.set_option(93, [0, 6, 0, 11, 0, 16]);
        }),
        but(
            "an architecture in two parts, of odd length",
            "architecture",
            |r| {
                r.set_option(60, *b"PXEClient:Arch:00006:UNDI:003016");
                r.set_option(93, [0, 7]);
                r.options.push((93, vec![0]));
            },
        ),
        but("an option past the end of the file field", "options", |r| {
            r.options.push((52, vec![1]));
            r.file = [12; 128];
        }),
        but("an option past the end of sname", "options", |r| {
            r.options.push((52, vec![3]));
            r.sname[..2].copy_from_slice(&[12, 63]);
        }),
        but(
            "an option past the end, behind a boot item",
            "options",
            |r| {
                r.options.insert(0, (43, vec![71, 4, 0, 0, 0, 0]));
                r.tail = vec![12, 1];
            },
        ),
    ]
}
