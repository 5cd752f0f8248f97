//! Where an address belongs in a node table.

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
