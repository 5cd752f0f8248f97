//! The headers of an ordinary request, for a fuzzer that is to think about options only.

use std::net::Ipv4Addr;

/// Ethernet, IPv4, UDP and BOOTP up to the magic cookie, to `server` from a node that has a WinPE
/// of its own. Lengths and checksums are left to be put right.
pub(super) fn headers(server: Ipv4Addr) -> Vec<u8> {
    const CLIENT: [u8; 4] = [10, 77, 16, 1];
    const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const PORT: [u8; 2] = 4011_u16.to_be_bytes();
    let ethernet = [&[2, 0, 0, 0, 0, 1], &CLIENT_MAC[..], &[8, 0]].concat();
    let ip = [
        &[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0],
        &CLIENT[..],
        &server.octets(),
    ]
    .concat();
    let udp = [PORT, PORT, [0; 2], [0; 2]].concat();
    let mut bootp = vec![0; 236];
    bootp[..8].copy_from_slice(&[1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
    bootp[12..16].copy_from_slice(&CLIENT);
    bootp[28..34].copy_from_slice(&CLIENT_MAC);
    bootp.extend([99, 130, 83, 99]);
    [ethernet, ip, udp, bootp].concat()
}
