//! A classic BPF filter, so that a socket under load is woken for replies only.

use socket2::SockFilter;

/// A socket filter for UDP datagrams over IPv4 from the port `from` and to the port `to`, or to any
/// port, untagged or with the tag already taken out by the kernel.
pub fn udp_from_port(from: u16, to: Option<u16>) -> [SockFilter; 13] {
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF_INDEXED: u16 = 0x48;
    const LOAD_IP_HEADER_LENGTH: u16 = 0xb1;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let is_wanted = match to {
        Some(port) => SockFilter::new(JUMP_IF_EQUAL, 1, 0, u32::from(port)),
        None => SockFilter::new(JUMP_IF_AT_LEAST, 1, 0, 0),
    };
    [
        SockFilter::new(LOAD_HALF, 0, 0, 12),
        SockFilter::new(JUMP_IF_EQUAL, 0, 9, 0x0800),
        SockFilter::new(LOAD_BYTE, 0, 0, 23),
        SockFilter::new(JUMP_IF_EQUAL, 0, 7, 17),
        SockFilter::new(LOAD_HALF, 0, 0, 20),
        SockFilter::new(JUMP_IF_SET, 5, 0, 0x1fff),
        SockFilter::new(LOAD_IP_HEADER_LENGTH, 0, 0, 14),
        SockFilter::new(LOAD_HALF_INDEXED, 0, 0, 14),
        SockFilter::new(JUMP_IF_EQUAL, 0, 2, u32::from(from)),
        SockFilter::new(LOAD_HALF_INDEXED, 0, 0, 16),
        is_wanted,
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}
