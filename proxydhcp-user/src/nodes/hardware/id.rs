//! What a machine is known by besides its IP address: the addresses of its network cards, and its UUID.

use std::fmt;

use proxydhcp_common::nodes::Hardware;

use super::address::{Address, Mac};

/// The number of digits in each group of a UUID.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// A machine's UUID, as people read it: the first byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// Parses 32 hexadecimal digits, alone or in groups of 8, 4, 4, 4 and 12 between hyphens. That of
    /// no machine, such as zeros alone, is no UUID.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let groups: Vec<_> = text.split('-').collect();
        let are_groups = groups.iter().map(|group| group.len()).eq(GROUPS) || groups.len() == 1;
        let digits = groups.concat();
        let number = u128::from_str_radix(&digits, 16).ok()?;
        let is_digits = digits.len() == 32 && digits.bytes().all(|it| it.is_ascii_hexdigit());
        let is_somebodys = number != 0 && number != u128::MAX;
        (are_groups && is_digits && is_somebodys).then_some(Self(number.to_be_bytes()))
    }

    /// Its bytes as option 97 may have them: in the order of the text, as iPXE sends them, or with the
    /// first three groups the other way round, as SMBIOS has them and UEFI sends them.
    fn sent(self) -> [[u8; 16]; 2] {
        let mut swapped = self.0;
        for group in [0..4, 4..6, 6..8] {
            if let Some(group) = swapped.get_mut(group) {
                group.reverse();
            }
        }
        [self.0, swapped]
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", u128::from_be_bytes(self.0));
        let mut rest = digits.as_str();
        for (number, group) in GROUPS.into_iter().enumerate() {
            let (digits, others) = rest.split_at_checked(group).unwrap_or_default();
            let hyphen = if number == 0 { "" } else { "-" };
            write!(f, "{hyphen}{digits}")?;
            rest = others;
        }
        Ok(())
    }
}

/// What a machine is known by besides its IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// The address of one of its network cards.
    Mac(Mac),
    /// Its UUID.
    Uuid(Uuid),
}

impl Id {
    /// Parses a MAC address or a UUID.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match Address::parse(text) {
            Some(Address::Ethernet(mac)) => Some(Self::Mac(mac)),
            _ => Uuid::parse(text).map(Self::Uuid),
        }
    }

    /// What requests may have for it.
    pub(crate) fn sent(self) -> impl Iterator<Item = Hardware> {
        let (first, second) = match self {
            Self::Mac(Mac(mac)) => (Hardware::Mac(mac), None),
            Self::Uuid(uuid) => {
                let [plain, swapped] = uuid.sent().map(Hardware::Uuid);
                (plain, Some(swapped))
            }
        };
        [Some(first), second].into_iter().flatten()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_and_written_and_sent_in_two_orders() {
        let text = "4c4c4544-0042-3510-8054-b9c04f4d3233";
        let uuid = Uuid::parse(text).unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!(
            Uuid::parse(&text.replace('-', "").to_uppercase()),
            Some(uuid)
        );
        let [plain, swapped] = uuid.sent();
        assert_eq!(plain[..8], [0x4c, 0x4c, 0x45, 0x44, 0, 0x42, 0x35, 0x10]);
        assert_eq!(swapped[..8], [0x44, 0x45, 0x4c, 0x4c, 0x42, 0, 0x10, 0x35]);
        assert_eq!(plain[8..], swapped[8..]);
    }

    #[test]
    fn what_is_no_machines_uuid_is_refused() {
        for text in [
            "",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "4c4c4544-0042-3510-8054-b9c04f4d323",
            "4c4c45440042-3510-8054-b9c0-4f4d3233",
            "+c4c4544-0042-3510-8054-b9c04f4d3233",
            "4c4c4544-0042-3510-8054-b9c04f4d323g",
        ] {
            assert_eq!(Uuid::parse(text), None, "{text}");
        }
    }
}
