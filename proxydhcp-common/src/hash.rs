//! Where an address belongs in a table.

/// The bucket that `address` (in memory order) belongs to, before the mask is applied.
///
/// Multiplication by 2^64 / golden ratio spreads neighbouring addresses, which are frequent in
/// clusters, more evenly than chance would. The bits used are those above 32, which depend on the
/// whole address.
#[inline(always)]
#[must_use]
pub const fn hash(address: [u8; 4]) -> u32 {
    let product = (u32::from_be_bytes(address) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (product >> 32) as u32
}
