//! Checks by its first bytes whether a file is what its name says.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use object::pe::{
    IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_ARM64, IMAGE_NT_OPTIONAL_HDR64_MAGIC,
    IMAGE_SUBSYSTEM_EFI_APPLICATION, ImageDosHeader, ImageNtHeaders64,
};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, optional_header_magic};

use crate::sys::xcat::winpe_maker;
use crate::winpe::bcd::Bcd;
use crate::winpe::wim;

/// The number of bytes of a file that are examined. A BCD is far shorter.
const HEAD: u64 = 4 << 20;

/// The kind of file that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A network boot program for BIOS, which is plain code without a header.
    BootProgram,
    /// An EFI application for x64.
    EfiApplication,
    /// An EFI application for ARM64.
    Arm64Application,
    /// A loader for an architecture about which nothing more is known here.
    OtherLoader,
    /// `bootmgr.exe`.
    BootManager,
    /// A registry hive, which is the format of a BCD.
    Registry,
    /// `boot.sdi`.
    Ramdisk,
    /// A `.wim`.
    Image,
    /// A font of the boot manager.
    Font,
}

impl Kind {
    /// The expected kind of the loader for this architecture.
    pub(crate) fn loader_of(architecture: usize) -> Self {
        match architecture {
            0 => Self::BootProgram,
            7 | 9 => Self::EfiApplication,
            11 => Self::Arm64Application,
            _ => Self::OtherLoader,
        }
    }

    /// Checks a file's first bytes; the error says what is wrong.
    pub(crate) fn judge(self, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Err("empty".to_owned());
        }
        let begins = |magic: &[u8], what: &str| {
            if bytes.starts_with(magic) {
                return Ok(());
            }
            Err(format!(
                "not {what}: it does not begin with {}",
                magic.escape_ascii()
            ))
        };
        match self {
            Self::BootProgram if bytes.starts_with(b"MZ") => Err(
                "a Windows or EFI program, not a boot program for BIOS (pxeboot.n12)".to_owned(),
            ),
            Self::BootProgram | Self::OtherLoader | Self::Font => Ok(()),
            Self::EfiApplication => efi_application(bytes, "x64", IMAGE_FILE_MACHINE_AMD64),
            Self::Arm64Application => efi_application(bytes, "ARM64", IMAGE_FILE_MACHINE_ARM64),
            Self::BootManager => begins(b"MZ", "a Windows program"),
            Self::Registry => Bcd::parse(bytes)
                .map(|_| ())
                .map_err(|error| error.to_string()),
            Self::Ramdisk => begins(b"$SDI", "a ramdisk image"),
            Self::Image => begins(wim::MAGIC, "a WIM image"),
        }
    }

    /// Whether it is signed for Secure Boot.
    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Self::EfiApplication | Self::Arm64Application)
    }

    /// How to obtain a valid file.
    pub(crate) fn remedy(self) -> String {
        match self {
            Self::BootProgram => format!(
                "copy it from Windows/Boot/PXE/pxeboot.n12 in the WinPE's image, or make the WinPE \
                 again with {}",
                winpe_maker()
            ),
            Self::EfiApplication => format!(
                "copy it from Windows/Boot/EFI/bootmgfw.efi in the WinPE's image (of x64), or make \
                 the WinPE again with {}",
                winpe_maker()
            ),
            Self::Arm64Application => "copy it from Windows/Boot/EFI/bootmgfw.efi in an image for \
                 ARM64, or name another under [loaders] in the settings file"
                .to_owned(),
            Self::OtherLoader => {
                "put it there, or name another under [loaders] in the settings file".to_owned()
            }
            Self::BootManager => {
                "copy it from Windows/Boot/PXE/bootmgr.exe in a WinPE's image to the TFTP root"
                    .to_owned()
            }
            Self::Font => "copy the fonts from Windows/Boot/Fonts in the WinPE's image".to_owned(),
            Self::Registry => "make it again with `proxydhcp winpe bcd write`".to_owned(),
            Self::Ramdisk | Self::Image => format!(
                "make the WinPE again with {}, or, if it is there by another name, make the BCD \
                 again, which names it",
                winpe_maker()
            ),
        }
    }
}

/// The first bytes of a file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn efi_application(bytes: &[u8], name: &str, machine: u16) -> Result<(), String> {
    let no_program = |error: object::read::Error| format!("not an EFI program: {error}");
    if optional_header_magic(bytes).map_err(no_program)? != IMAGE_NT_OPTIONAL_HDR64_MAGIC {
        return Err(format!(
            "a program for 32 bits (PE32), and clients need {name} (PE32+)"
        ));
    }
    let header = ImageDosHeader::parse(bytes).map_err(no_program)?;
    let mut offset = header.nt_headers_offset().into();
    let (headers, _) = ImageNtHeaders64::parse(bytes, &mut offset).map_err(no_program)?;
    let its = headers.file_header().machine.get(object::LittleEndian);
    if its != machine {
        return Err(format!(
            "a program for machine {its:#06x}, and clients need {name} ({machine:#06x})"
        ));
    }
    let subsystem = headers.optional_header().subsystem();
    if subsystem != IMAGE_SUBSYSTEM_EFI_APPLICATION {
        return Err(format!(
            "not an EFI application: its subsystem is {subsystem}, not {IMAGE_SUBSYSTEM_EFI_APPLICATION}"
        ));
    }
    Ok(())
}
