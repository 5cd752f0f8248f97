//! Numbers that nobody can predict.

use std::hash::{BuildHasher, RandomState};

/// A number that nobody can predict: a keyed hash of the standard library, whose key consists of
/// random bytes from the system.
pub(crate) fn number() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_differ_in_all_their_bits() {
        let numbers: Vec<u64> = (0..1000).map(|_| number()).collect();
        let (ones, zeros) = numbers.iter().fold((0, 0), |(o, z), n| (o | n, z | !n));
        assert_eq!((ones, zeros), (u64::MAX, u64::MAX));
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 1000);
    }
}
