//! A client architecture, as an operator names it.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The architecture's number in DHCP option 93 (RFC 4578, section 2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Architecture(pub u16);

impl Architecture {
    /// BIOS.
    pub const BIOS: Self = Self(0);
    /// UEFI on x64.
    pub const UEFI: Self = Self(7);
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "bios" => Ok(Self::BIOS),
            "uefi" | "x64" => Ok(Self::UEFI),
            "ia32" => Ok(Self(6)),
            "arm64" => Ok(Self(11)),
            number => number.parse().map(Self).map_err(|_| {
                "it is bios (0), uefi or x64 (7), ia32 (6), arm64 (11), or another number of \
                 RFC 4578, such as 9"
                    .to_owned()
            }),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "BIOS, ",
            6 => "UEFI on IA32, ",
            7 | 9 => "UEFI on x64, ",
            11 => "UEFI on ARM64, ",
            15..=19 => "HTTP boot, ",
            _ => "",
        };
        write!(f, "{name}architecture {}", self.0)
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_taken() {
        for (text, number) in [
            ("bios", 0),
            ("UEFI", 7),
            ("0", 0),
            ("9", 9),
            ("arm64", 11),
            ("IA32", 6),
        ] {
            assert_eq!(text.parse(), Ok(Architecture(number)));
        }
        for text in ["", "arm", "-1", "65536"] {
            assert!(text.parse::<Architecture>().is_err(), "{text}");
        }
        assert_eq!(Architecture(9).to_string(), "UEFI on x64, architecture 9");
        assert_eq!(Architecture(3).to_string(), "architecture 3");
    }
}
