//! The BCD of a network boot: one loader, which boots an image that is fetched by TFTP into memory.

use std::fmt;

use super::device::Device;
use super::guid::Guid;
use super::{
    BOOT_MANAGER, Bcd, DEFAULT, DEVICE_OPTIONS, DISPLAY_ORDER, Data, Element, LOADER, Object,
};

/// The number of a program's device, and of the device of the Windows that a loader boots.
pub const DEVICE: u32 = 0x1100_0001;
const OS_DEVICE: u32 = 0x2100_0001;
/// The number of the path of a program.
pub const PATH: u32 = 0x1200_0002;
/// The number of the ramdisk's format file.
pub const SDI_PATH: u32 = 0x3200_0004;
/// The number of the device with the ramdisk's format file.
const SDI_DEVICE: u32 = 0x3100_0003;
/// The number of the folder with the boot manager's fonts.
pub const FONT_PATH: u32 = 0x1200_004a;
const DESCRIPTION: u32 = 0x1200_0004;
const LOCALE: u32 = 0x1200_0005;

/// The kind of firmware that reads a BCD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// BIOS: `winload.exe` is booted.
    Bios,
    /// UEFI: `winload.efi` is booted.
    Uefi,
}

impl Firmware {
    /// Where the loader is in images, except where it is in `\windows\system32` itself.
    pub fn winload(self) -> &'static str {
        match self {
            Self::Bios => r"\windows\system32\boot\winload.exe",
            Self::Uefi => r"\windows\system32\boot\winload.efi",
        }
    }

    /// The firmware of this architecture (RFC 4578, section 2.1).
    pub fn of_architecture(architecture: usize) -> Self {
        match architecture {
            0 => Self::Bios,
            _ => Self::Uefi,
        }
    }

    /// The firmware that a loader is for, by the end of its name.
    pub fn of_winload(path: &str) -> Option<Self> {
        let (_, end) = path.rsplit_once('.')?;
        match end.to_ascii_lowercase().as_str() {
            "exe" => Some(Self::Bios),
            "efi" => Some(Self::Uefi),
            _ => None,
        }
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bios => "BIOS",
            Self::Uefi => "UEFI",
        })
    }
}

/// What a BCD of a network boot depends on. Paths are as BCDs have them: below the TFTP root, from a
/// backslash on, with backslashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkBoot {
    /// The firmware of the clients.
    pub firmware: Firmware,
    /// The image (`.wim`).
    pub image: String,
    /// The format of the ramdisk (`boot.sdi`).
    pub sdi: String,
    /// The loader within the image.
    pub winload: String,
    /// The folder with the boot manager's fonts, if it is not to look in `\Boot\Fonts`.
    pub fonts: Option<String>,
    /// The language of messages, such as `en-US`.
    pub locale: String,
    /// The size of TFTP's blocks in bytes (RFC 2348).
    pub block_size: u16,
    /// The number of blocks that are sent without waiting (RFC 7440).
    pub window_size: u16,
}

impl NetworkBoot {
    /// The BCD. The elements and their order are those of Microsoft's media, and of Windows
    /// Deployment Services for TFTP's options.
    pub fn bcd(&self) -> Bcd {
        Bcd {
            objects: vec![self.options(), self.loader(), self.manager()],
        }
    }

    fn manager(&self) -> Object {
        let mut elements = vec![
            element(DESCRIPTION, text("Windows Boot Manager")),
            element(LOCALE, text(&self.locale)),
        ];
        elements.extend(
            self.fonts
                .iter()
                .map(|fonts| element(FONT_PATH, text(fonts))),
        );
        elements.extend([
            element(DEFAULT, Data::Object(Guid::LOADER)),
            element(DISPLAY_ORDER, Data::Objects(vec![Guid::LOADER])),
            // Seconds. With one loader there is nothing to choose, and it does not wait.
            element(0x2500_0004, Data::Integer(30)),
        ]);
        object(Guid::BOOT_MANAGER, BOOT_MANAGER, elements)
    }

    fn loader(&self) -> Object {
        let ramdisk = Data::Device(Device::Ramdisk {
            options: Guid::RAMDISK_OPTIONS,
            path: self.image.clone(),
        });
        let mut elements = vec![
            element(DEVICE, ramdisk.clone()),
            element(PATH, text(&self.winload)),
            element(DESCRIPTION, text("Windows PE")),
            element(LOCALE, text(&self.locale)),
        ];
        if self.firmware == Firmware::Uefi {
            // Isolated context.
            elements.push(element(0x1600_0060, Data::Boolean(true)));
        }
        elements.extend([
            element(OS_DEVICE, ramdisk),
            element(0x2200_0002, text(r"\windows")),
            // The boot menu's policy: with colours.
            element(0x2500_00c2, Data::Integer(1)),
            // Detect the HAL; it is Windows PE; without emergency management services.
            element(0x2600_0010, Data::Boolean(true)),
            element(0x2600_0022, Data::Boolean(true)),
            element(0x2600_00b0, Data::Boolean(false)),
        ]);
        object(Guid::LOADER, LOADER, elements)
    }

    fn options(&self) -> Object {
        let elements = vec![
            element(SDI_DEVICE, Data::Device(Device::Boot)),
            element(SDI_PATH, text(&self.sdi)),
            element(0x3500_0007, Data::Integer(self.block_size.into())),
            element(0x3500_0008, Data::Integer(self.window_size.into())),
            // The window shrinks when blocks are lost.
            element(0x3600_000b, Data::Boolean(true)),
        ];
        object(Guid::RAMDISK_OPTIONS, DEVICE_OPTIONS, elements)
    }
}

fn object(id: Guid, kind: u32, elements: Vec<Element>) -> Object {
    Object { id, kind, elements }
}

fn element(number: u32, data: Data) -> Element {
    Element { number, data }
}

fn text(text: &str) -> Data {
    Data::Text(text.to_owned())
}
