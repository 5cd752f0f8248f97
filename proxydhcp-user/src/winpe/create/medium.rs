//! What a WinPE is made from: an image of a disc, a folder with what is on one, or a WIM.
//!
//! None of them is trusted: two files are taken, by their names alone, and no link is followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::fs::{OFlags, ioctl_ficlone};

use crate::sys::tool::Tool;
use crate::sys::work::Work;
use crate::winpe::wim;

/// Of the programs that read images of discs, one that reads Microsoft's, which are UDF.
const SEVEN_ZIP: Tool = Tool {
    program: "7zz",
    package: "7zip",
};
/// Where the image and the format of its ramdisk are: on discs, in what copype makes, and in the ADK's
/// folder of an architecture.
const LAYOUTS: [(&str, &str); 3] = [
    ("sources/boot.wim", "boot/boot.sdi"),
    ("media/sources/boot.wim", "media/boot/boot.sdi"),
    ("en-us/winpe.wim", "media/boot/boot.sdi"),
];
/// Where the format of the ramdisk is beside a WIM.
const BESIDE: [&str; 2] = ["boot.sdi", "../boot/boot.sdi"];
/// Where a disc's volume descriptors begin, and the length of each, in bytes (ECMA-119, 6.7.1; ECMA-167,
/// part 2, 8.1).
const DESCRIPTORS: u64 = 16 * 2048;
const DESCRIPTOR: usize = 2048;

/// A medium.
#[derive(Debug)]
pub(super) struct Medium {
    /// The WIM.
    pub(super) image: Part,
    /// `boot.sdi`, if it is there.
    pub(super) sdi: Option<Part>,
}

/// A file of a medium.
#[derive(Debug)]
pub(super) enum Part {
    /// It is there as such.
    File(PathBuf),
    /// It is in the image of a disc.
    Member {
        disc: PathBuf,
        /// The file system, as [`SEVEN_ZIP`] names it.
        format: &'static str,
        name: String,
        size: u64,
    },
}

impl Medium {
    /// Looks at a medium.
    ///
    /// # Errors
    /// If it is none, or has no image.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let metadata = fs::metadata(path).with_context(|| shown.to_string())?;
        if metadata.is_dir() {
            return Self::of_folder(path);
        }
        if !metadata.is_file() {
            bail!("{shown}: neither a file nor a folder");
        }
        let mut file = File::open(path).with_context(|| shown.to_string())?;
        let mut magic = [0; wim::MAGIC.len()];
        let read = file.read_exact(&mut magic);
        if read.is_ok() && magic == wim::MAGIC {
            let folder = path.parent().unwrap_or(Path::new("."));
            let mut beside = BESIDE.iter().map(|name| folder.join(name));
            return Ok(Self {
                image: Part::File(path.to_owned()),
                sdi: beside.find(|file| is_plain(file)).map(Part::File),
            });
        }
        let format = format(&mut file).with_context(|| shown.to_string())?;
        let format = format.with_context(|| {
            format!(
                "{shown}: neither a WIM nor the image of a disc (ISO 9660 or UDF); name a medium of \
                 Windows or of the ADK"
            )
        })?;
        Self::of_disc(path, format)
    }

    fn of_folder(folder: &Path) -> Result<Self> {
        for (image, sdi) in LAYOUTS {
            if let Some(image) = find(folder, image)? {
                let sdi = find(folder, sdi)?;
                return Ok(Self {
                    image: Part::File(image),
                    sdi: sdi.map(Part::File),
                });
            }
        }
        bail!("{}: {}", folder.display(), nothing());
    }

    fn of_disc(disc: &Path, format: &'static str) -> Result<Self> {
        let mut command = seven_zip("l", &["-slt", "-ba"], disc, format);
        command.args(LAYOUTS.iter().flat_map(|(image, sdi)| [image, sdi]));
        let listed = SEVEN_ZIP.output(&mut command, Stdio::null());
        let listed = listed.with_context(|| disc.display().to_string())?;
        let members = members(&String::from_utf8_lossy(&listed));
        let member = |wanted: &str| {
            let mut members = members.iter();
            let (name, size) = members.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            Some(Part::Member {
                disc: disc.to_owned(),
                format,
                name: name.clone(),
                size: *size,
            })
        };
        let mut layouts = LAYOUTS.iter();
        let found = layouts.find_map(|(image, sdi)| Some((member(image)?, member(sdi))));
        let (image, sdi) = found.with_context(|| format!("{}: {}", disc.display(), nothing()))?;
        Ok(Self { image, sdi })
    }
}

impl Part {
    /// Its path, for messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Member { disc, name, .. } => format!("{name} of {}", disc.display()),
        }
    }

    /// Copies it, at most this many bytes.
    ///
    /// # Errors
    /// It cannot be read, is cut off, or has more bytes.
    pub(super) fn copy(&self, to: &mut File, most: u64, work: &Work) -> Result<()> {
        self.try_copy(to, most, work).with_context(|| self.shown())
    }

    fn try_copy(&self, to: &mut File, most: u64, work: &Work) -> Result<()> {
        match self {
            Self::File(path) => {
                let mut from = plain(path)?;
                let size = from.metadata()?.len();
                work.step("copying", Some(size))?;
                // The two share their blocks where the file system can do that.
                if size > most || ioctl_ficlone(&*to, &from).is_err() {
                    work.copy(&mut from, to, most)?;
                }
                Ok(())
            }
            Self::Member {
                disc,
                format,
                name,
                size,
            } => {
                work.step("reading the disc", Some(*size))?;
                let mut command = seven_zip("x", &["-so"], disc, format);
                command.arg(name);
                let mut from = SEVEN_ZIP.stream(&mut command)?;
                let copied = work.copy(&mut from, to, most.min(*size))?;
                from.end()?;
                if copied < *size {
                    bail!("cut off: {copied} of {size} bytes are there");
                }
                Ok(())
            }
        }
    }
}

fn nothing() -> String {
    let images: Vec<_> = LAYOUTS.iter().map(|(image, _)| *image).collect();
    format!(
        "has none of {}; name a medium of Windows or of the ADK, or a boot.wim",
        images.join(", ")
    )
}

/// The command for a task on a disc; names of files on it may follow.
fn seven_zip(task: &str, switches: &[&str], disc: &Path, format: &str) -> Command {
    let mut command = SEVEN_ZIP.command();
    // Letter case does not matter; it asks nothing.
    command.args([task, "-y", "-ssc-", &format!("-t{format}")]);
    command.args(switches).arg("--");
    // Even if its name begins with a hyphen or an at sign.
    let disc = fs::canonicalize(disc).unwrap_or_else(|_| disc.to_owned());
    command.arg(disc);
    command
}

/// The files of a list of [`SEVEN_ZIP`], with their sizes in bytes: a line for each property, and an empty
/// one between two of them.
fn members(list: &str) -> Vec<(String, u64)> {
    let list = list.replace("\r\n", "\n");
    let members = list.split("\n\n").filter_map(|member| {
        let property = |name: &str| {
            let mut lines = member.lines().filter_map(|line| line.split_once(" = "));
            lines
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value)
        };
        Some((
            property("Path")?.to_owned(),
            property("Size")?.parse().ok()?,
        ))
    });
    members.collect()
}

/// The file system of the image of a disc. Microsoft's discs have one of UDF with everything, and one of
/// ISO 9660 that says so.
fn format(file: &mut File) -> io::Result<Option<&'static str>> {
    let mut descriptors = Vec::new();
    file.seek(SeekFrom::Start(DESCRIPTORS))?;
    file.take(16 * DESCRIPTOR as u64)
        .read_to_end(&mut descriptors)?;
    let has = |names: &[&[u8]]| {
        let mut each = descriptors.chunks(DESCRIPTOR);
        each.any(|of| names.iter().any(|name| of.get(1..6) == Some(name)))
    };
    Ok(if has(&[b"NSR02", b"NSR03"]) {
        Some("Udf")
    } else if has(&[b"CD001"]) {
        Some("Iso")
    } else {
        None
    })
}

/// The file at a path below a folder, whatever its letter case. What is a link is not there.
fn find(folder: &Path, path: &str) -> Result<Option<PathBuf>> {
    let mut at = folder.to_owned();
    for part in path.split('/') {
        let entries = match fs::read_dir(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            entries => entries.with_context(|| at.display().to_string())?,
        };
        let mut names = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let is_link = entry.file_type().ok()?.is_symlink();
            (!is_link && entry.file_name().eq_ignore_ascii_case(part)).then(|| entry.path())
        });
        match names.next() {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(is_plain(&at).then_some(at))
}

fn is_plain(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_file())
}

/// Opens a file that is neither a link nor a device.
fn plain(path: &Path) -> Result<File> {
    let flags = OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        bail!("not a file");
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_is_searched_in_any_letter_case_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |file: &str| folder.path().join(file);
        let image = || match Medium::open(folder.path()).map(|medium| medium.image) {
            Ok(Part::File(file)) => Some(file),
            _ => None,
        };
        let error = Medium::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("none of sources/boot.wim, "), "{error}");
        fs::create_dir_all(path("Media/Sources")).unwrap();
        fs::write(path("Media/Sources/Boot.WIM"), "x").unwrap();
        assert_eq!(image(), Some(path("Media/Sources/Boot.WIM")));
        fs::remove_file(path("Media/Sources/Boot.WIM")).unwrap();
        symlink("/etc/passwd", path("Media/Sources/boot.wim")).unwrap();
        assert_eq!(image(), None);
        fs::create_dir(path("elsewhere")).unwrap();
        fs::write(path("elsewhere/boot.wim"), "x").unwrap();
        symlink("elsewhere", path("sources")).unwrap();
        assert_eq!(image(), None);
    }

    #[test]
    fn what_is_neither_disc_nor_wim_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.iso");
        for bytes in [&b""[..], b"MSWIM", &vec![0; 100_000]] {
            fs::write(&file, bytes).unwrap();
            let error = Medium::open(&file).unwrap_err().to_string();
            assert!(
                error.contains("neither a WIM nor the image of a disc"),
                "{error}"
            );
        }
        fs::write(&file, b"MSWIM\0\0\0").unwrap();
        assert!(Medium::open(&file).unwrap().sdi.is_none());
        fs::write(folder.path().join("boot.sdi"), "").unwrap();
        assert!(Medium::open(&file).unwrap().sdi.is_some());
    }

    #[test]
    fn a_list_is_read_by_its_properties() {
        let list = "Path = boot/boot.sdi\nFolder = -\nSize = 8\n\nPath = sources\nFolder = +\nSize = \n\n\
                    Path = sources/a = b\nSize = 3082\nLinks = 1\n\n";
        let expected = [("boot/boot.sdi", 8), ("sources/a = b", 3082)];
        assert_eq!(
            members(list),
            expected.map(|(name, size)| (name.to_owned(), size))
        );
    }
}
