//! The names of a BCD's objects.

use std::fmt;
use std::str::FromStr;

/// A globally unique identifier, as BCDs store it: the first three fields little endian.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

/// Where the bytes stand in the text, two digits each.
const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
/// The bytes after which the text has a hyphen.
const HYPHENS: [usize; 4] = [3, 5, 7, 9];

impl Guid {
    /// Windows' boot manager.
    pub const BOOT_MANAGER: Self = Self::from_fields(
        0x9dea_862c,
        0x5cdd,
        0x4e70,
        [0xac, 0xc1, 0xf3, 0x2b, 0x34, 0x4d, 0x47, 0x95],
    );
    /// The loader on Microsoft's media.
    pub const LOADER: Self = Self::on_media(0x7619_dcc9);
    /// The options of the ramdisk on Microsoft's media.
    pub const RAMDISK_OPTIONS: Self = Self::on_media(0x7619_dcc8);

    const fn on_media(first: u32) -> Self {
        let last = [0xb4, 0x11, 0x00, 0x04, 0x76, 0xeb, 0xa2, 0x5f];
        Self::from_fields(first, 0xfafe, 0x11d9, last)
    }

    const fn from_fields(first: u32, second: u16, third: u16, last: [u8; 8]) -> Self {
        let [a, b, c, d] = first.to_le_bytes();
        let ([e, f], [g, h]) = (second.to_le_bytes(), third.to_le_bytes());
        let [i, j, k, l, m, n, o, p] = last;
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// The name that bcdedit has for the object; `None` if it has none.
    pub fn alias(self) -> Option<&'static str> {
        let aliases = [
            (Self::BOOT_MANAGER, "{bootmgr}"),
            (Self::RAMDISK_OPTIONS, "{ramdiskoptions}"),
            // On media, there is but one loader.
            (Self::LOADER, "{default}"),
        ];
        let alias = aliases.iter().find(|(guid, _)| *guid == self);
        alias.map(|&(_, alias)| alias)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (place, at) in ORDER.into_iter().enumerate() {
            write!(f, "{:02x}", self.0.get(at).copied().unwrap_or_default())?;
            if HYPHENS.contains(&place) {
                f.write_str("-")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Guid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'));
        let digits: String = text.ok_or(())?.split('-').collect();
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(());
        }
        let number = u128::from_str_radix(&digits, 16).map_err(|_| ())?;
        let bytes = number.to_be_bytes();
        // The order is its own inverse.
        let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
        Ok(Self(ORDER.map(byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_bytes_agree() {
        let text = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}";
        assert_eq!(Guid::BOOT_MANAGER.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(Guid::BOOT_MANAGER));
        assert_eq!(Guid::BOOT_MANAGER.0[..4], [0x2c, 0x86, 0xea, 0x9d]);
        let text = "{7619dcc9-fafe-11d9-b411-000476eba25f}";
        assert_eq!(Guid::LOADER.to_string(), text);
        for wrong in ["", "{}", "9dea862c-5cdd-4e70-acc1-f32b344d4795", "{ä}"] {
            assert_eq!(wrong.parse::<Guid>(), Err(()), "{wrong}");
        }
    }
}
