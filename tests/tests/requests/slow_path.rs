//! Requests that the fast path leaves to the slow one are answered as if there were one path.

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::site::{NODE_A, Site};
use proxydhcp_lab::{Checksum, Expected, RequestFrame, SERVER_MAC, VlanTag, check_reply};

use crate::exchange::{Case, PATIENCE, counts, handed_up, left_to_daemon, on_every_datapath};

const VENDOR: u8 = 43;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const CLASS: u8 = 60;
const ARCHITECTURE: u8 = 93;
const UUID: u8 = 97;

#[test]
fn unusual_requests_are_answered_by_whoever_understands_them() -> Result<()> {
    let cases: Vec<Case> = [ip(), lengths(), parts(), overloads(), vendor_options()]
        .into_iter()
        .flatten()
        .collect();
    on_every_datapath(|datapath| {
        let mut site = Site::usual(datapath)?;
        let mut replies = Vec::new();
        for case in &cases {
            let before = handed_up(&site)?;
            let (name, reply) = case.ask(&mut site)?;
            let more = handed_up(&site)? - before;
            ensure!(
                more == left_to_daemon(datapath, 0, 1),
                "{name}: handed up {more} times"
            );
            // Even where the request went to a group of hosts.
            let from = Datagram::parse(&reply)?.source_mac;
            ensure!(from == SERVER_MAC, "{name}: from {from:02x?}");
            replies.push((name, reply));
        }
        Ok(replies)
    })
}

/// A UEFI client's request, changed.
fn but(name: impl Into<String>, change: impl FnOnce(&mut RequestFrame)) -> Case {
    let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
    change(&mut request);
    Case::new(name, request, "winboot/a/", UEFI_X64)
}

fn ip() -> Vec<Case> {
    const RECORD_ROUTE: u8 = 7;
    let mut cases = vec![
        but("a router alert", |r| r.ip_options = vec![0x94, 4, 0, 0]),
        but("a router alert in a VLAN", |r| {
            r.ip_options = vec![0x94, 4, 0, 0];
            r.vlan_tags = vec![VlanTag {
                protocol: 0x8100,
                control: 0x6064,
            }];
        }),
        but("IP options and a trailer", |r| {
            r.ip_options = vec![1; 12];
            r.trailer = vec![0xee; 9];
        }),
        but("IP options and no UDP checksum", |r| {
            r.ip_options = vec![1; 4];
            r.udp_checksum = Checksum::Zero;
        }),
        but("to all hosts by Ethernet", |r| {
            r.destination_mac = [0xff; 6];
        }),
        but("to a group by Ethernet", |r| {
            r.destination_mac = [0x01, 0, 0x5e, 0, 0, 1];
        }),
    ];
    cases.extend((1..=9).map(|slots: u8| {
        let length = 3 + 4 * slots;
        but(format!("a route of {slots} hops recorded"), |r| {
            r.ip_options = vec![RECORD_ROUTE, length, 4];
            r.ip_options.resize(length.into(), 0);
        })
    }));
    cases
}

fn lengths() -> Vec<Case> {
    vec![
        but("30 options more", |r| {
            r.options
                .splice(0..0, (128..158).map(|code| (code, vec![7])))
                .for_each(drop);
        }),
        but("200 pads in front", |r| {
            r.options
                .splice(0..0, vec![(0, vec![]); 200])
                .for_each(drop);
        }),
        but("pads between all options", |r| {
            let pads = [(0, vec![]), (0, vec![]), (0, vec![])];
            r.options = r
                .options
                .drain(..)
                .flat_map(|option| pads.clone().into_iter().chain([option]))
                .collect();
        }),
        but("1,025 bytes", |r| r.minimum_length = 1025),
        but("all that a frame holds", |r| r.minimum_length = 1472),
        but("long options", |r| {
            r.options
                .splice(0..0, (128..132).map(|code| (code, vec![7; 255])))
                .for_each(drop);
        }),
    ]
}

fn parts() -> Vec<Case> {
    let class = b"PXEClient:Arch:00007:UNDI:003016";
    vec![
        but("the class in two parts", |r| {
            r.set_option(CLASS, &class[..4]);
            r.options.push((CLASS, class[4..].to_vec()));
        }),
        but("the class in single letters", |r| {
            r.remove_option(CLASS);
            r.remove_option(ARCHITECTURE);
            r.options
                .extend(class.iter().map(|letter| (CLASS, vec![*letter])));
        }),
        but("a message type with an empty part", |r| {
            r.options.push((MESSAGE_TYPE, Vec::new()));
        }),
        but("the architecture in two parts", |r| {
            r.set_option(ARCHITECTURE, [0]);
            r.options.push((ARCHITECTURE, vec![7]));
        }),
        but("the UUID in two parts", |r| {
            let uuid = r.option(UUID).unwrap().to_vec();
            r.set_option(UUID, &uuid[..1]);
            r.options.insert(0, (UUID, Vec::new()));
            r.options.push((UUID, uuid[1..].to_vec()));
        }),
        but("two UUIDs, which make none", |r| {
            let uuid = r.option(UUID).unwrap().to_vec();
            r.options.push((UUID, uuid));
        }),
        but("INFORM with an empty part", |r| {
            r.set_option(MESSAGE_TYPE, [8]);
            r.options.push((MESSAGE_TYPE, Vec::new()));
        }),
        // The class says 7, too.
        but("an architecture with its bytes swapped", |r| {
            r.set_option(ARCHITECTURE, [7, 0]);
        }),
        but("two architectures with their bytes swapped", |r| {
            r.set_option(ARCHITECTURE, [9, 0, 7, 0]);
        }),
        but("three architectures, the last with a loader", |r| {
            r.set_option(ARCHITECTURE, [0, 16, 0, 11, 0, 7]);
        }),
        Case::new(
            "three architectures, the second with another loader",
            {
                let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
                request.set_option(ARCHITECTURE, [0, 6, 0, 0, 0, 7]);
                request
            },
            "winboot/a/",
            BIOS,
        ),
    ]
}

/// Options in `file` and `sname`, where option 52 says so.
fn overloads() -> Vec<Case> {
    let class = b"PXEClient:Arch:00007:UNDI:003016";
    let both = [(ARCHITECTURE, vec![0, 7]), (CLASS, class.to_vec())];
    let crossing = [(CLASS, class[..7].to_vec()), (ARCHITECTURE, vec![0, 7])];
    let tail = [(CLASS, class[7..].to_vec())];
    let overloaded = |name, which: u8, file: &[_], sname: &[_]| {
        but(name, |r| {
            r.remove_option(CLASS);
            r.remove_option(ARCHITECTURE);
            r.options.push((OVERLOAD, vec![which]));
            r.file = field(file);
            r.sname = field(sname);
        })
    };
    vec![
        overloaded("both in the file field", 1, &both, &[]),
        overloaded("both in the sname field", 2, &[], &both),
        overloaded("one in each", 3, &both[..1], &both[1..]),
        overloaded("the class across both, file first", 3, &crossing, &tail),
        // A field that option 52 does not name holds a name.
        overloaded(
            "a name like a message type",
            1,
            &both,
            &[(MESSAGE_TYPE, vec![1])],
        ),
        but("option 52 that names no field", |r| {
            r.options.push((OVERLOAD, vec![0]));
            r.file = field(&[(MESSAGE_TYPE, vec![1])]);
        }),
        but("a field without an end option", |r| {
            r.options.push((OVERLOAD, vec![1]));
            r.file = [0; 128];
        }),
    ]
}

/// Options in a field, with an end option.
fn field<const N: usize>(options: &[(u8, Vec<u8>)]) -> [u8; N] {
    let mut bytes: Vec<u8> = Vec::new();
    for (code, value) in options {
        bytes.extend([*code, u8::try_from(value.len()).unwrap()]);
        bytes.extend(value);
    }
    bytes.push(255);
    bytes.resize(N, 0);
    bytes.try_into().unwrap()
}

fn vendor_options() -> Vec<Case> {
    let vendor =
        |name: &str, value: &[u8]| but(name, |r| r.options.insert(0, (VENDOR, value.to_vec())));
    let discovery = |item, layer| {
        let request = RequestFrame::edk2_discovery(NODE_A, UEFI_X64, item, layer);
        Case::new(
            format!("boot item {item}, layer {layer}"),
            request,
            "winboot/a/",
            UEFI_X64,
        )
    };
    vec![
        discovery(0, 0),
        discovery(0x1234, 0x8001),
        vendor(
            "a boot item among others",
            &[6, 1, 8, 0, 0, 71, 4, 1, 2, 3, 4, 9, 1, 0],
        ),
        vendor("no boot item", &[6, 1, 8, 255]),
        vendor("a boot item too short", &[71, 3, 0, 1, 0, 255]),
        vendor("a boot item past the end", &[71, 4, 0, 1]),
        vendor("half an option", &[71]),
        vendor("nothing", &[]),
        vendor("255 bytes of anything", &[0xaa; 255]),
        but("a boot item in two parts", |r| {
            r.options.insert(0, (VENDOR, vec![71, 4, 1, 2]));
            r.options.push((VENDOR, vec![3, 4, 255]));
        }),
        but("a boot item in the file field", |r| {
            r.options.push((OVERLOAD, vec![1]));
            r.file = field(&[(VENDOR, vec![71, 4, 0, 0, 0, 0])]);
        }),
    ]
}

#[test]
fn other_vendor_classes_are_served_where_they_are_named() -> Result<()> {
    let but = |change: &dyn Fn(&mut RequestFrame)| {
        let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
        change(&mut request);
        request
    };
    let cases = [
        (
            "of the same length",
            "HW-Client",
            UEFI_X64,
            but(&|r| r.set_option(CLASS, *b"HW-Client")),
        ),
        (
            "with the architecture in it",
            "HW-Client",
            UEFI_X64,
            but(&|r| {
                r.set_option(CLASS, *b"HW-Client:Arch:00007:UNDI:003016");
                r.remove_option(ARCHITECTURE);
            }),
        ),
        (
            "longer",
            "AcmeNetBootAgentROM1",
            BIOS,
            but(&|r| {
                r.set_option(CLASS, *b"AcmeNetBootAgentROM1:Arch:00007");
                r.set_option(ARCHITECTURE, [0, 0]);
            }),
        ),
        (
            "longer, with a boot item",
            "AcmeNetBootAgentROM1",
            UEFI_X64,
            but(&|r| {
                r.set_option(CLASS, *b"AcmeNetBootAgentROM1");
                r.options.insert(0, (VENDOR, vec![71, 4, 1, 2, 3, 4, 255]));
            }),
        ),
        (
            "shorter",
            "X",
            UEFI_X64,
            but(&|r| r.set_option(CLASS, *b"X")),
        ),
        ("the usual one", "PXEClient", UEFI_X64, but(&|_| {})),
    ];
    let named = [
        "--vendor-class=HW-Client",
        "--vendor-class=AcmeNetBootAgentROM1",
        "--vendor-class=X",
    ];
    on_every_datapath(|datapath| {
        let mut site = Site::with(datapath, &named)?;
        let mut replies = Vec::new();
        for (name, class, architecture, request) in &cases {
            let reply = site.tap.ask(request).context(*name)?;
            let expected = Expected {
                class,
                ..Expected::new("winboot/a/", *architecture)
            };
            check_reply(&request.bytes(), &reply, &expected).context(*name)?;
            replies.push(((*name).to_owned(), reply));
        }
        for class in ["HTTPClient:Arch:00007", "HW-Clien", ""] {
            let request = but(&|r| r.set_option(CLASS, class.as_bytes()));
            site.stays_silent(&request.bytes()).context(class)?;
        }
        counts(&site, "/refused", &serde_json::json!({"vendor-class": 3}))?;
        Ok(replies)
    })
}

#[test]
fn a_checksum_left_to_hardware_is_no_fault() -> Result<()> {
    let plain = RequestFrame::edk2(NODE_A, UEFI_X64);
    let requests = [
        ("plain", plain.clone()),
        ("long", RequestFrame::legacy(NODE_A, UEFI_X64)),
        (
            "with a boot item",
            RequestFrame::edk2_discovery(NODE_A, UEFI_X64, 1, 0),
        ),
        (
            "with IP options",
            RequestFrame {
                ip_options: vec![1; 4],
                ..plain.clone()
            },
        ),
        (
            "in a VLAN",
            RequestFrame {
                vlan_tags: vec![VlanTag {
                    protocol: 0x8100,
                    control: 0x6064,
                }],
                ..plain
            },
        ),
    ];
    on_every_datapath(|datapath| {
        let mut site = Site::usual(datapath)?;
        let mut replies = Vec::new();
        for (name, request) in &requests {
            site.tap.send_offloaded(request)?;
            let reply = site.tap.reply(PATIENCE)?;
            let reply = reply.with_context(|| format!("{name}: no reply"))?;
            check_reply(
                &request.bytes(),
                &reply,
                &Expected::new("winboot/a/", UEFI_X64),
            )
            .context(*name)?;
            replies.push(((*name).to_owned(), reply));
        }
        Ok(replies)
    })
}
