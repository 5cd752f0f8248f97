//! The names of elements and types of objects, as bcdedit has them, and data in words.

use std::fmt;

use super::Data;
use crate::text::printable;

/// Elements of programs, of the boot manager, of loaders and of the options of ramdisks. The same
/// number has another meaning elsewhere only for types of objects that a network boot has none of.
const NAMES: [(u32, &str); 75] = [
    (0x1100_0001, "device"),
    (0x1200_0002, "path"),
    (0x1200_0004, "description"),
    (0x1200_0005, "locale"),
    (0x1400_0006, "inherit"),
    (0x1500_0007, "truncatememory"),
    (0x1400_0008, "recoverysequence"),
    (0x1600_0009, "recoveryenabled"),
    (0x1700_000a, "badmemorylist"),
    (0x1600_000b, "badmemoryaccess"),
    (0x1600_0010, "bootdebug"),
    (0x1500_0011, "debugtype"),
    (0x1500_0013, "debugport"),
    (0x1500_0014, "baudrate"),
    (0x1600_0020, "bootems"),
    (0x1500_0022, "emsport"),
    (0x1500_0023, "emsbaudrate"),
    (0x1200_0030, "loadoptions"),
    (0x1600_0040, "advancedoptions"),
    (0x1600_0041, "optionsedit"),
    (0x1600_0046, "graphicsmodedisabled"),
    (0x1600_0048, "nointegritychecks"),
    (0x1600_0049, "testsigning"),
    (0x1200_004a, "fontpath"),
    (0x1500_0052, "graphicsresolution"),
    (0x1600_0053, "restartonfailure"),
    (0x1600_0054, "highestmode"),
    (0x1600_0060, "isolatedcontext"),
    (0x2400_0001, "displayorder"),
    (0x2400_0002, "bootsequence"),
    (0x2300_0003, "default"),
    (0x2500_0004, "timeout"),
    (0x2600_0005, "resume"),
    (0x2300_0006, "resumeobject"),
    (0x2400_0010, "toolsdisplayorder"),
    (0x2600_0020, "displaybootmenu"),
    (0x2600_0021, "noerrordisplay"),
    (0x2100_0001, "osdevice"),
    (0x2200_0002, "systemroot"),
    (0x2600_0010, "detecthal"),
    (0x2200_0011, "kernel"),
    (0x2200_0012, "hal"),
    (0x2500_0020, "nx"),
    (0x2500_0021, "pae"),
    (0x2600_0022, "winpe"),
    (0x2600_0024, "nocrashautoreboot"),
    (0x2600_0025, "lastknowngood"),
    (0x2600_0040, "vga"),
    (0x2600_0041, "quietboot"),
    (0x2600_0042, "novesa"),
    (0x2500_0061, "numproc"),
    (0x2500_0080, "safeboot"),
    (0x2600_0090, "bootlog"),
    (0x2600_0091, "sos"),
    (0x2600_00a0, "debug"),
    (0x2600_00b0, "ems"),
    (0x2500_00c1, "driverloadfailurepolicy"),
    (0x2500_00c2, "bootmenupolicy"),
    (0x2500_00e0, "bootstatuspolicy"),
    (0x2500_00f0, "hypervisorlaunchtype"),
    (0x2600_00f2, "hypervisordebug"),
    (0x3500_0001, "ramdiskimageoffset"),
    (0x3500_0002, "ramdisktftpclientport"),
    (0x3100_0003, "ramdisksdidevice"),
    (0x3200_0004, "ramdisksdipath"),
    (0x3500_0005, "ramdiskimagelength"),
    (0x3600_0006, "exportascd"),
    (0x3500_0007, "ramdisktftpblocksize"),
    (0x3600_0007, "ramdisktftpblocksize"),
    (0x3500_0008, "ramdisktftpwindowsize"),
    (0x3600_0008, "ramdisktftpwindowsize"),
    (0x3600_0009, "ramdiskmcenabled"),
    (0x3600_000a, "ramdiskmctftpfallback"),
    (0x3600_000b, "ramdisktftpvarwindow"),
    (0x4500_0001, "devicetype"),
];

/// The name of the element with this number; its digits if it has none here.
pub fn name(number: u32) -> String {
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("{number:08x}"), |(_, name)| (*name).to_owned())
}

/// What objects of this type are.
pub fn kind(kind: u32) -> String {
    let known = match kind {
        super::BOOT_MANAGER => "Windows boot manager",
        0x1010_0001 => "firmware boot manager",
        super::LOADER => "Windows boot loader",
        0x1020_0004 => "resume from hibernation",
        0x1020_0005 => "Windows memory tester",
        0x1030_0006 => "legacy Windows loader",
        0x1040_0008 => "boot sector",
        0x2010_0000 => "settings of all",
        0x2020_0003 => "settings of boot loaders",
        0x2020_0004 => "settings of resume loaders",
        super::DEVICE_OPTIONS => "device options",
        other => return format!("object of type {other:08x}"),
    };
    known.to_owned()
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => f.write_str(&printable(device.to_string().as_bytes())),
            Self::Text(text) => f.write_str(&printable(text.as_bytes())),
            Self::Object(id) => write!(f, "{id}"),
            Self::Objects(ids) => {
                let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
                f.write_str(&ids.join(", "))
            }
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(true) => f.write_str("yes"),
            Self::Boolean(false) => f.write_str("no"),
            Self::Other(bytes) => {
                for byte in bytes.iter().take(32) {
                    write!(f, "{byte:02x}")?;
                }
                if bytes.len() > 32 {
                    write!(f, "... ({} bytes)", bytes.len())?;
                }
                Ok(())
            }
        }
    }
}
