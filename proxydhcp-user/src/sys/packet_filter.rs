//! The filter that keeps everything except packets to one port out of a packet socket: a classic BPF
//! program.

use socket2::SockFilter;

// The opcodes of linux/filter.h that this program needs.
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_INDEXED: u16 = 0x48;
const LOAD_IP_LEN: u16 = 0xb1;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

const fn load(code: u16, offset: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, offset)
}

/// Skips `jt` instructions if the comparison with `k` holds, otherwise `jf`.
const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

const fn keep(bytes: u32) -> SockFilter {
    SockFilter::new(RETURN, 0, 0, bytes)
}

/// Keeps IPv4/UDP packets to `port` that are not later fragments, with at most one VLAN tag
/// besides the outer one, which the kernel has removed before.
#[must_use]
pub(crate) const fn to_port(port: u16) -> [SockFilter; 22] {
    let port = port as u32;
    [
        load(LOAD_HALF, 12),
        jump(JUMP_EQUAL, 0x0800, 11, 0),
        jump(JUMP_EQUAL, 0x8100, 1, 0),
        jump(JUMP_EQUAL, 0x88a8, 0, 17),
        // Another tag: load the type behind it.
        load(LOAD_HALF, 16),
        jump(JUMP_EQUAL, 0x0800, 0, 15),
        // IP at 18.
        load(LOAD_BYTE, 18 + 9),
        jump(JUMP_EQUAL, 17, 0, 13),
        load(LOAD_HALF, 18 + 6),
        jump(JUMP_SET, 0x1fff, 11, 0),
        load(LOAD_IP_LEN, 18),
        load(LOAD_HALF_INDEXED, 18 + 2),
        jump(JUMP_EQUAL, port, 7, 8),
        // IP at 14.
        load(LOAD_BYTE, 14 + 9),
        jump(JUMP_EQUAL, 17, 0, 6),
        load(LOAD_HALF, 14 + 6),
        jump(JUMP_SET, 0x1fff, 4, 0),
        load(LOAD_IP_LEN, 14),
        load(LOAD_HALF_INDEXED, 14 + 2),
        jump(JUMP_EQUAL, port, 0, 1),
        keep(u32::MAX),
        keep(0),
    ]
}
