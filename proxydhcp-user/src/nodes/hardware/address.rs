//! Hardware addresses, as people and programs write them.

use std::fmt;

/// The length of an Ethernet address in bytes.
const LENGTH: usize = 6;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; LENGTH]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a text stands for that is written like a hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// That of a network card.
    Ethernet(Mac),
    /// One that no card has: that of a group, or only zeros.
    Nobody(Mac),
    /// A longer one, with the number of its bytes.
    Long(usize),
}

impl Address {
    /// Parses hexadecimal digits, alone or in equal groups between colons, hyphens or dots:
    /// `52:54:0:12:34:56`, `5254.0012.3456`, `525400-123456`, `525400123456`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let separator = text.chars().find(|char| !char.is_ascii_hexdigit());
        if separator.is_some_and(|char| !matches!(char, ':' | '-' | '.')) {
            return None;
        }
        let groups: Vec<&str> = match separator {
            Some(separator) => text.split(separator).collect(),
            None => vec![text],
        };
        let are_hex = |group: &&str| {
            !group.is_empty() && group.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        let have = |least: usize, most: usize| {
            let lengths = groups.iter().map(|group| group.len());
            lengths
                .into_iter()
                .all(|length| (least..=most).contains(&length))
        };
        if !groups.iter().all(are_hex) {
            return None;
        }
        // A zero may be left out between colons or hyphens; with dots, that would be like a version.
        let least = if separator == Some('.') { 2 } else { 1 };
        match groups.len() {
            LENGTH if have(least, 2) => ethernet(groups.into_iter()),
            1..=3 if have(12 / groups.len(), 12 / groups.len()) => {
                let digits = groups.concat();
                let bytes = (0..LENGTH).filter_map(|byte| digits.get(2 * byte..2 * byte + 2));
                ethernet(bytes)
            }
            longer @ (8 | 20) if have(least, 2) => Some(Self::Long(longer)),
            _ => None,
        }
    }
}

fn ethernet<'a>(bytes: impl Iterator<Item = &'a str>) -> Option<Address> {
    let mut mac = [0; LENGTH];
    for (byte, digits) in mac.iter_mut().zip(bytes) {
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    let [first, ..] = mac;
    let mac_is_nobodys = first & 1 == 1 || mac == [0; LENGTH];
    let mac = Mac(mac);
    Some(if mac_is_nobodys {
        Address::Nobody(mac)
    } else {
        Address::Ethernet(mac)
    })
}
