//! The Internet checksum (RFC 1071), kept as a running sum.
//!
//! Words are added as they are in memory: the one's-complement sum does not depend on the byte
//! order in which it is computed (RFC 1071, section 2(B)), so no word is ever swapped.

/// A one's-complement sum that is not folded yet. The default, zero, is the sum of no words.
///
/// The 64 bits hold the carries of 2^31 additions of 32-bit words, more than any frame contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(
    /// The sum of words in memory order.
    pub u64,
);

impl Sum {
    /// Adds a number that the packet stores as 16 bits in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn number(self, value: u16) -> Self {
        Self(self.0.wrapping_add(value.to_be() as u64))
    }

    /// Adds four bytes that start at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, bytes: [u8; 4]) -> Self {
        Self(self.0.wrapping_add(u32::from_ne_bytes(bytes) as u64))
    }

    /// Adds two bytes that start at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn pair(self, bytes: [u8; 2]) -> Self {
        Self(self.0.wrapping_add(u16::from_ne_bytes(bytes) as u64))
    }

    /// Adds a block of whole words that starts at an even offset.
    #[inline(always)]
    #[must_use]
    pub fn block<const N: usize>(self, bytes: &[u8; N]) -> Self {
        const { assert!(N.is_multiple_of(4)) };
        let (words, _) = bytes.as_chunks();
        words.iter().fold(self, |sum, word| sum.word(*word))
    }

    /// Adds up to seven bytes that start at an even offset, as a number in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn rest(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// Adds another sum, whose bytes start at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// The sum of the same bytes, had they started at an odd offset.
    #[inline(always)]
    #[must_use]
    pub const fn shifted(self) -> Self {
        Self(self.fold().swap_bytes() as u64)
    }

    /// Adds a run of bytes that starts at an even offset.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let sum = words.iter().fold(self, |sum, word| sum.word(*word));
        match *rest {
            [a] => sum.pair([a, 0]),
            [a, b] => sum.pair([a, b]),
            [a, b, c] => sum.word([a, b, c, 0]),
            _ => sum,
        }
    }

    /// The 16-bit one's-complement sum, in memory order.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "no carry is left")]
    pub const fn fold(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// Recovers a sum from its folded value.
    #[inline(always)]
    #[must_use]
    pub const fn folded(sum: u16) -> Self {
        Self(sum as u64)
    }

    /// Whether the checksum of the summed bytes, which include it, is right.
    #[inline(always)]
    #[must_use]
    pub const fn is_right(self) -> bool {
        self.fold() == 0xffff
    }

    /// The checksum field's two bytes.
    #[inline(always)]
    #[must_use]
    pub const fn field(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// The checksum field of a UDP header, where 0 means "none" and is sent as all ones (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn udp_field(self) -> [u8; 2] {
        match self.fold() {
            0xffff => [0xff, 0xff],
            sum => (!sum).to_ne_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 taken literally: big-endian words, carries folded at each step.
    fn by_the_book(bytes: &[u8]) -> u16 {
        bytes.chunks(2).fold(0, |sum: u16, pair| {
            let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
            let (sum, carry) = sum.overflowing_add(word);
            sum + u16::from(carry)
        })
    }

    #[test]
    fn example_of_rfc_1071() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.field(), [0x22, 0x0d]);
    }

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_ones() {
        assert_eq!(Sum::default().number(0xffff).field(), [0, 0]);
        assert_eq!(Sum::default().number(0xffff).udp_field(), [0xff, 0xff]);
    }

    proptest! {
        #[test]
        fn agrees_with_the_book(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            prop_assert_eq!(Sum::default().bytes(&bytes).fold(), by_the_book(&bytes).to_be());
        }

        #[test]
        fn an_odd_offset_is_a_swap(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut moved = std::vec![0];
            moved.extend(&bytes);
            prop_assert_eq!(Sum::default().bytes(&bytes).shifted().fold(), by_the_book(&moved).to_be());
        }
    }
}
