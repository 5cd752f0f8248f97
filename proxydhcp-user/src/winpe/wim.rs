//! What a WIM says about the images in it: which is booted, and the machines that they are for.
//!
//! A header of 208 bytes says where the rest is, among it an XML document that describes the images.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// What each WIM begins with.
pub(crate) const MAGIC: &[u8] = b"MSWIM\0\0\0";
/// The place of the entry of the XML document in the header, in bytes: its size, 7 bytes, flags, and
/// its place in the file, 8 bytes, all little endian.
const XML: usize = 72;
/// The place of the number of the image that is booted, a little endian u32.
const BOOT_INDEX: usize = 120;
/// The length of the header up to there, in bytes.
const HEADER: usize = BOOT_INDEX + 4;
/// The longest XML document that is read, in bytes; those of Windows' media have some kilobytes.
const LONGEST_XML: u64 = 4 << 20;

/// The kind of machine that an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86, of 32 bits.
    X86,
    /// x64, which Windows calls amd64, too.
    X64,
    /// ARM64.
    Arm64,
}

/// What is known of a WIM.
#[derive(Debug)]
pub(crate) struct Wim {
    /// The number of the image that is booted, from 1; `None` if none is.
    pub(crate) boot_index: Option<u32>,
    xml: String,
}

impl Machine {
    /// The machine of an image, by the number that Windows has for it (`PROCESSOR_ARCHITECTURE_...`).
    fn of_windows(number: &str) -> Option<Self> {
        match number {
            "0" => Some(Self::X86),
            "9" => Some(Self::X64),
            "12" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// Whether clients of this architecture (RFC 4578, section 2.1) boot an image for it. BIOS clients
    /// boot both kinds; UEFI boots its own only.
    pub(crate) fn is_booted_by(self, architecture: usize) -> bool {
        match architecture {
            0 => self != Self::Arm64,
            6 | 15 => self == Self::X86,
            7 | 9 | 16 => self == Self::X64,
            11 | 19 => self == Self::Arm64,
            _ => false,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86 => "x86",
            Self::X64 => "x64",
            Self::Arm64 => "ARM64",
        })
    }
}

impl Wim {
    /// Reads what a WIM says of itself.
    ///
    /// # Errors
    /// If it cannot be read, or is none.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut header = [0; HEADER];
        file.read_exact(&mut header)?;
        let number = |at: usize, bytes: usize| {
            let bytes = header.iter().skip(at).take(bytes).rev();
            bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        if !header.starts_with(MAGIC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a WIM"));
        }
        let (size, place) = (number(XML, 7), number(XML + 8, 8));
        file.seek(SeekFrom::Start(place))?;
        let mut xml = Vec::new();
        let size = size.min(LONGEST_XML);
        if file.take(size).read_to_end(&mut xml)? as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let units = xml.chunks_exact(2).filter_map(|unit| unit.first_chunk());
        let units: Vec<_> = units.map(|unit| u16::from_le_bytes(*unit)).collect();
        let boot_index = u32::try_from(number(BOOT_INDEX, 4)).unwrap_or_default();
        Ok(Self {
            boot_index: (boot_index > 0).then_some(boot_index),
            xml: String::from_utf16_lossy(&units),
        })
    }

    /// The machine of an image, by the image's number, if it says.
    pub(crate) fn machine(&self, index: u32) -> Option<Machine> {
        let image = self.image(index)?;
        let (_, from) = image.split_once("<ARCH>")?;
        let (number, _) = from.split_once("</ARCH>")?;
        Machine::of_windows(number.trim())
    }

    /// Whether there is an image of this number.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.image(index).is_some()
    }

    /// The part of the document that is about an image.
    fn image(&self, index: u32) -> Option<&str> {
        let (_, from) = self.xml.split_once(&format!("<IMAGE INDEX=\"{index}\">"))?;
        Some(from.split_once("</IMAGE>").map_or(from, |(image, _)| image))
    }

    /// The machine of the image that is booted, if that is known.
    pub(crate) fn booted(&self) -> Option<Machine> {
        self.machine(self.boot_index?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A WIM without data, whose images are for these machines, by Windows' numbers; the first is booted.
    pub(crate) fn wim(machines: &[u32]) -> Vec<u8> {
        let images = (1..).zip(machines).map(|(index, machine)| {
            format!("<IMAGE INDEX=\"{index}\"><WINDOWS><ARCH>{machine}</ARCH></WINDOWS></IMAGE>")
        });
        let xml = format!("\u{feff}<WIM>{}</WIM>", images.collect::<String>());
        let xml: Vec<u8> = xml.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut bytes = vec![0; 208];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[XML..XML + 7].copy_from_slice(&(xml.len() as u64).to_le_bytes()[..7]);
        bytes[XML + 8..XML + 16].copy_from_slice(&208_u64.to_le_bytes());
        bytes[BOOT_INDEX] = 1;
        bytes.extend(xml);
        bytes
    }

    #[test]
    fn the_machine_of_each_image_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wim");
        std::fs::write(&file, wim(&[9, 12, 0, 5])).unwrap();
        let read = Wim::read(&file).unwrap();
        let machines = [1, 2, 3, 4, 5].map(|index| read.machine(index));
        let [x64, arm64, x86] = [Machine::X64, Machine::Arm64, Machine::X86].map(Some);
        assert_eq!(machines, [x64, arm64, x86, None, None]);
        assert_eq!(
            (read.booted(), read.has(4), read.has(5)),
            (x64, true, false)
        );
        // Cut off anywhere, it is none.
        let bytes = wim(&[9]);
        for length in 0..bytes.len() {
            std::fs::write(&file, &bytes[..length]).unwrap();
            assert!(Wim::read(&file).is_err(), "{length}");
        }
        std::fs::write(&file, [0xff; 300]).unwrap();
        assert!(Wim::read(&file).is_err());
    }

    #[test]
    fn firmware_boots_its_own_machine() {
        for (machine, booted_by) in [
            (Machine::X86, vec![0, 6, 15]),
            (Machine::X64, vec![0, 7, 9, 16]),
            (Machine::Arm64, vec![11, 19]),
        ] {
            let all: Vec<_> = (0..48).filter(|&of| machine.is_booted_by(of)).collect();
            assert_eq!(all, booted_by, "{machine}");
        }
    }
}
