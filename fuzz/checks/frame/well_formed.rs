//! What a reply must be, read without any of the code that wrote it.

use std::net::Ipv4Addr;

use proxydhcp::tables::policy::ReplyFormat;
use proxydhcp_lab::read_leniently;

use super::mend::add;
use super::{LOCAL, MAC, Tables};

/// Where an IP header lies, and the BOOTP message behind it.
fn parts(frame: &[u8]) -> (usize, &[u8], &[u8]) {
    let mut ip = 14;
    while let [0x81, 0x00] | [0x88, 0xa8] = frame[ip - 2..ip] {
        ip += 4;
    }
    let header = &frame[ip..][..4 * usize::from(frame[ip] & 15)];
    let bootp = &frame[ip + header.len() + 8..];
    (ip, header, bootp)
}

fn word(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

fn address(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

/// The MAC address in `chaddr`, if that is one.
fn mac(bootp: &[u8]) -> Option<[u8; 6]> {
    (bootp[2] == 6).then(|| *bootp[28..].first_chunk().expect("it is long enough"))
}

/// The UUID of option 97, if it has one.
fn uuid(bootp: &[u8]) -> Option<u128> {
    match read_leniently(bootp, 97).split_first() {
        Some((0, uuid)) => Some(u128::from_be_bytes(uuid.try_into().ok()?)),
        _ => None,
    }
}

/// Checks a reply.
///
/// # Panics
/// Where it is not as it must be.
pub(super) fn check(request: &[u8], reply: &[u8], tables: &Tables) {
    let (ip, header, asked) = parts(request);
    check_headers(request, reply, ip);
    check_fields(asked, &reply[ip + 28..], header, tables);
    check_options(asked, &reply[ip + 28..], header, tables);
}

/// Back to where it came from, by the way it came, with lengths and checksums that are right.
fn check_headers(request: &[u8], reply: &[u8], ip: usize) {
    let (_, header, _) = parts(request);
    assert_eq!(reply[..6], request[6..12]);
    assert_eq!(reply[0] & 1, 0, "a group is answered");
    let from = if request[0] & 1 == 0 {
        &request[..6]
    } else {
        &MAC
    };
    assert_eq!(&reply[6..12], from);
    assert_eq!(reply[12..ip], request[12..ip]);

    let packet = &reply[ip..];
    assert_eq!((packet[0], packet[1], packet[9]), (0x45, 0, 17));
    assert!(packet[8] >= 64);
    assert_eq!(word(packet, 2), packet.len());
    assert_eq!(word(packet, 6), 0x4000);
    assert_eq!(add(0, &packet[..20]), 0xffff);
    let (client, server) = (address(header, 12), address(header, 16));
    assert_eq!((address(packet, 12), address(packet, 16)), (server, client));
    assert!(LOCAL.contains(&server));
    assert!(!matches!(client.octets()[0], 0 | 127 | 224..));

    let (udp, asked) = (&packet[20..], &request[ip + header.len()..]);
    assert_eq!((word(udp, 0), word(udp, 2)), (4011, word(asked, 0)));
    assert!(matches!(word(udp, 2), 68 | 4011));
    assert_eq!(word(udp, 4), udp.len());
    assert_ne!(word(udp, 6), 0);
    let pseudo = add(add(17, &packet[12..20]), &udp[4..6]);
    assert_eq!(add(pseudo, udp), 0xffff);
}

fn check_fields(asked: &[u8], bootp: &[u8], header: &[u8], tables: &Tables) {
    let (client, server) = (address(header, 12), address(header, 16));
    let shortest = match tables.policy.reply_format {
        ReplyFormat::Pxe => 300,
        ReplyFormat::Xcat => 241,
    };
    assert!((shortest..=548).contains(&bootp.len()), "{}", bootp.len());
    assert_eq!(bootp[0], 2);
    // htype and hlen, hops, xid, secs and flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname.
    assert_eq!(bootp[1..3], asked[1..3]);
    assert_eq!(bootp[3], 0);
    assert_eq!(bootp[4..8], asked[4..8]);
    assert_eq!(bootp[8..12], [0; 4]);
    assert_eq!(bootp[12..16], asked[12..16]);
    assert!([client, Ipv4Addr::UNSPECIFIED].contains(&address(bootp, 12)));
    assert_eq!(bootp[16..20], [0; 4]);
    let next_server = tables.policy.next_server.unwrap_or(server);
    assert_eq!(address(bootp, 20), next_server);
    assert_eq!(bootp[24..28], [0; 4]);
    assert_eq!(bootp[28..44], asked[28..44]);
    assert_eq!(bootp[44..108], [0; 64]);

    let winpe = tables
        .winpe(client, mac(asked), uuid(asked))
        .expect("nobody else is answered");
    let file = bootp[108..236].strip_prefix(winpe.as_bytes());
    let file = file.expect("the loader is in the node's WinPE");
    let end = file.iter().position(|&byte| byte == 0);
    let (loader, padding) = file.split_at(end.expect("file has a NUL"));
    assert!(matches!(loader, b"Boot/pxeboot.0" | b"Boot/bootmgfw.efi"));
    assert!(padding.iter().all(|&byte| byte == 0));
    assert_eq!(bootp[236..240], [99, 130, 83, 99]);
}

/// Each option once, none that has no place there, and nothing but zeros behind the end.
fn check_options(asked: &[u8], bootp: &[u8], header: &[u8], tables: &Tables) {
    let (client, server) = (address(header, 12), address(header, 16));
    let winpe = tables
        .winpe(client, mac(asked), uuid(asked))
        .expect("nobody else is answered");
    let is_pxe = tables.policy.reply_format == ReplyFormat::Pxe;
    let mut seen = [0; 256];
    let mut rest = &bootp[240..];
    while rest[0] != 255 {
        let (code, len) = (rest[0], usize::from(rest[1]));
        let value = &rest[2..2 + len];
        rest = &rest[2 + len..];
        seen[usize::from(code)] += 1;
        match code {
            53 => assert_eq!(value, [5]),
            54 => assert_eq!(value, server.octets()),
            60 => assert_eq!(value, b"PXEClient"),
            97 => assert_eq!(value.len(), 17),
            43 => {
                assert_eq!((&value[..2], value.len()), (&[71, 4][..], 7 - 1));
                // Its value is the client's, maybe in two parts.
                assert!(asked[240..].contains(&71) || asked[44..236].contains(&71));
            }
            252 => {
                let bcd = value.strip_prefix(winpe.as_bytes());
                assert_eq!(bcd, Some(&b"Boot/BCD\0"[..]));
            }
            other => panic!("option {other} has no place there"),
        }
    }
    assert!(rest[1..].iter().all(|&byte| byte == 0));
    assert_eq!((seen[53], seen[54], seen[252]), (1, 1, 1));
    assert_eq!(seen[60], u8::from(is_pxe));
    let most = u8::from(is_pxe);
    assert!(seen[97] <= most && seen[43] <= most);
}
