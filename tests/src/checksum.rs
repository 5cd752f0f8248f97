//! The Internet checksum of RFC 1071, written for reading rather than for speed.

/// The one's complement of the one's complement sum of all 16-bit words in `parts`, each part
/// padded with a zero byte to a whole word.
pub fn internet_checksum(parts: &[&[u8]]) -> u16 {
    !sum(parts)
}

/// The folded sum that [`internet_checksum`] is the complement of.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0_u64;
    for part in parts {
        for word in part.chunks(2) {
            let high = word.first().copied().unwrap_or(0);
            let low = word.get(1).copied().unwrap_or(0);
            total += u64::from(u16::from_be_bytes([high, low]));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let words = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&[&words]), 0xddf2);
        assert_eq!(internet_checksum(&[&words[..4], &words[4..]]), !0xddf2);
        assert_eq!(sum(&[&[0xab]]), 0xab00, "an odd byte is the high one");
    }
}
