//! Where an address, or a hardware address, belongs in a node table.

/// The bucket that `address` (in memory order) belongs to, before the mask is applied.
///
/// This is multiply-shift hashing (Dietzfelbinger et al.): for an odd `seed` drawn at random, two
/// addresses that were chosen without knowledge of it share a bucket at most twice as often as by
/// chance. The addresses of a cluster, which are evenly spaced, spread more evenly than that, by
/// almost every seed. The bits used are those above 32, which depend on the whole address.
#[inline(always)]
#[must_use]
pub const fn hash(address: [u8; 4], seed: u64) -> u32 {
    let product = (u32::from_be_bytes(address) as u64).wrapping_mul(seed);
    (product >> 32) as u32
}

/// The number that stands for an Ethernet address: its bytes, and a bit that makes it differ from 0.
#[inline(always)]
#[must_use]
pub const fn mac_key([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 1, a, b, c, d, e, f])
}

/// The number that stands for a UUID. It has 63 bits that depend on all of the UUID and on the seed, so
/// that two UUIDs chosen without knowledge of it share a number by an unlikely chance only; the topmost
/// bit distinguishes it from an Ethernet address.
#[inline(always)]
#[must_use]
pub const fn uuid_key(uuid: &[u8; 16], seed: u64) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *uuid;
    let first = u64::from_ne_bytes([a, b, c, d, e, f, g, h]) ^ seed;
    let first = first.wrapping_mul(MIX);
    let both = first ^ first >> 32 ^ u64::from_ne_bytes([i, j, k, l, m, n, o, p]);
    let both = both.wrapping_mul(seed);
    both ^ both >> 32 | 1 << 63
}

/// The bucket, of 2^`bits`, that a hardware address with this key belongs to: multiply-shift hashing
/// again. Here the topmost bits are used, because they depend on all 64 of the key.
#[inline(always)]
#[must_use]
pub const fn hardware_hash(key: u64, seed: u64, bits: u8) -> u32 {
    let bucket = (key.wrapping_mul(seed) >> 32) as u32;
    bucket >> ((32 - bits) & 31)
}
