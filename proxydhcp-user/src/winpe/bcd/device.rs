//! Devices: where a BCD's loader finds its files.

use std::fmt;

use super::guid::Guid;
use super::utf16;

/// The number of the kind of device that a program was booted from.
const BOOT: u32 = 5;
/// The length of a description of it, in bytes.
const BOOT_LEN: u32 = 0x48;
/// The length of the name of the options that stands before a device's description.
const OPTIONS_LEN: usize = 16;
/// The length of the description of a ramdisk without its path.
const RAMDISK_LEN: u32 = 124;
/// Where the path of a ramdisk's image begins.
const PATH_AT: usize = 140;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// The one that the boot manager came from. After a network boot that is the TFTP server.
    Boot,
    /// The contents of an image on the boot device, in memory.
    Ramdisk {
        /// The object with its options.
        options: Guid,
        /// The image's path, with backslashes.
        path: String,
    },
    /// A partition or whatever else. These are its bytes.
    Other(Vec<u8>),
}

impl Device {
    /// The bytes of an element.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Boot => {
                bytes.resize(OPTIONS_LEN, 0);
                append_boot(&mut bytes);
            }
            Self::Ramdisk { options, path } => {
                let path = utf16::bytes(path);
                let path_len = u32::try_from(path.len()).unwrap_or(u32::MAX);
                let len = |fixed: u32| fixed.saturating_add(path_len);
                bytes.extend(options.0);
                append(&mut bytes, &[0, 1, len(RAMDISK_LEN), 0, 3, 0, 0, 0, 0, 0]);
                // A file on a device: without the 40 bytes that precede it.
                append(&mut bytes, &[1, len(RAMDISK_LEN - 40), 5]);
                append_boot(&mut bytes);
                bytes.extend(path);
            }
            Self::Other(other) => bytes.clone_from(other),
        }
        bytes
    }

    /// The device that an element's bytes describe. What would not be written like that is
    /// [`Device::Other`].
    pub fn parse(bytes: &[u8]) -> Self {
        let options = bytes.first_chunk().copied().map_or(Guid([0; 16]), Guid);
        let path = utf16::text(bytes.get(PATH_AT..).unwrap_or_default());
        let ramdisk = Self::Ramdisk { options, path };
        [Self::Boot, ramdisk]
            .into_iter()
            .find(|device| device.bytes() == bytes)
            .unwrap_or_else(|| Self::Other(bytes.to_vec()))
    }
}

fn append_boot(bytes: &mut Vec<u8>) {
    let end = bytes.len() + BOOT_LEN as usize;
    append(bytes, &[BOOT, 0, BOOT_LEN]);
    bytes.resize(end, 0);
}

fn append(bytes: &mut Vec<u8>, words: &[u32]) {
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot => f.write_str("boot (where the boot manager came from)"),
            Self::Ramdisk { path, .. } => write!(f, "ramdisk of {path} on the boot device"),
            Self::Other(bytes) => write!(f, "another device, of {} bytes", bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_as_long_as_they_say() {
        assert_eq!(Device::Boot.bytes().len(), 88);
        for units in [1, 17, 64, 65, 200, 2000] {
            let ramdisk = Device::Ramdisk {
                options: Guid::RAMDISK_OPTIONS,
                path: "x".repeat(units),
            };
            let bytes = ramdisk.bytes();
            let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
            assert_eq!(bytes.len(), 140 + 2 * (units + 1));
            assert_eq!(word(16 + 8), bytes.len() - 16);
            assert_eq!(word(16 + 16 + 24 + 4), bytes.len() - 56);
            assert_eq!(Device::parse(&bytes), ramdisk);
        }
    }

    #[test]
    fn what_differs_in_a_byte_is_another_device() {
        let mut bytes = Device::Boot.bytes();
        bytes[87] = 1;
        assert_eq!(Device::parse(&bytes), Device::Other(bytes.clone()));
        assert_eq!(Device::parse(b""), Device::Other(Vec::new()));
    }
}
