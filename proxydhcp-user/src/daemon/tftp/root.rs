//! Files below the TFTP root, and nothing else.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

use super::listings::Listings;
use crate::tftp::packet::{Code, Refusal};

/// How often a file is tried to be opened while others are renamed.
const TRIES: usize = 100;

/// The TFTP root.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    listings: Listings,
}

/// A file to send.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    /// In bytes.
    pub(super) size: u64,
    /// Its name below the root, as it is on the disk.
    pub(super) name: String,
}

/// Why a file is not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    /// There is no such file, in whatever letter case, or there are several.
    #[error("there is no such file")]
    Missing,
    /// The name, or a link on its way, leads out of the root.
    #[error("it leads out of the TFTP root, through a symbolic link or `..`")]
    Outside,
    /// A folder, say.
    #[error("it is no regular file")]
    NoFile,
    /// The system's answer.
    #[error("{0}")]
    Io(io::Error),
}

impl Denied {
    /// What the client is told.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Missing | Self::NoFile => Refusal::new(Code::NotFound, "file not found"),
            Self::Io(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                Refusal::new(Code::Undefined, "the file cannot be opened")
            }
            Self::Outside | Self::Io(_) => Refusal::new(Code::AccessViolation, "access denied"),
        }
    }
}

impl From<Errno> for Denied {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => Self::Missing,
            Errno::XDEV | Errno::LOOP => Self::Outside,
            error => Self::Io(error.into()),
        }
    }
}

impl Root {
    /// The files below this folder.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            listings: Listings::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file that a client names, with slashes or backslashes. If there is none with these
    /// letters, the only one that differs in their case is meant: Windows' boot manager does not mind it.
    ///
    /// # Errors
    ///
    /// See [`Denied`].
    pub(super) fn open(&self, asked: &str) -> Result<Opened, Denied> {
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The root itself may be a link, and may have been replaced since the last request.
        let root = openat(CWD, &self.path, folder, Mode::empty())
            .map_err(|error| Denied::Io(error.into()))?;
        let name = plain(asked);
        let found = match self.open_in(&root, Path::new(&name)) {
            Err(Denied::Missing) => {
                let name = self.in_any_case(&root, &name)?;
                self.open_in(&root, &name)
                    .map(|file| (file, name.to_string_lossy().into_owned()))
            }
            opened => opened.map(|file| (file, name)),
        };
        let (file, name) = found?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Denied::NoFile);
        }
        Ok(Opened {
            file,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            name,
        })
    }

    /// Opens a file, to which absolute links may lead as well: the kernel takes each for one that leads out
    /// of the root.
    fn open_in(&self, root: &impl AsFd, name: &Path) -> Result<File, Denied> {
        let opened = open_below(root, name);
        let leads_up = name.components().any(|it| it == Component::ParentDir);
        if leads_up || !matches!(opened, Err(Denied::Outside)) {
            return opened;
        }
        let target = fs::canonicalize(&self.path)
            .and_then(|path| Ok((fs::canonicalize(path.join(name))?, path)));
        // What it was when it was looked at does not matter: this may not lead out of the root either.
        match target {
            Ok((target, path)) => {
                let below = target.strip_prefix(path).map_err(|_| Denied::Outside)?;
                open_below(root, below)
            }
            Err(_) => Err(Denied::Outside),
        }
    }

    /// The path of the only file that differs from `name` in letter case alone.
    fn in_any_case(&self, root: &impl AsFd, name: &str) -> Result<PathBuf, Denied> {
        let mut found = PathBuf::new();
        for part in name.split('/') {
            let at = if found.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &found
            };
            let names = self.listings.of(self.open_in(root, at)?)?;
            found.push(names.find(part).ok_or(Denied::Missing)?);
        }
        Ok(found)
    }
}

/// The name with slashes, and without the parts that lead nowhere.
fn plain(asked: &str) -> String {
    let parts = asked.split(['/', '\\']);
    let parts: Vec<&str> = parts.filter(|it| !matches!(*it, "" | ".")).collect();
    parts.join("/")
}

/// Opens a file, which no link on its way may take out of the root.
fn open_below(root: &impl AsFd, name: &Path) -> Result<File, Denied> {
    // Opening a FIFO must not wait for somebody to write to it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = || openat2(root, name, flags, Mode::empty(), resolve);
    // Whether `..` in a link leads out cannot be said while anything in the system is renamed.
    let opened = (1..TRIES)
        .map(|_| open())
        .find(|it| !matches!(it, Err(Errno::AGAIN)));
    Ok(opened.unwrap_or_else(open)?.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn root() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("winboot/New/Boot")).unwrap();
        fs::write(root.join("winboot/New/Boot/BCD"), b"hive").unwrap();
        fs::write(root.join("bootmgr.exe"), b"MZ").unwrap();
        fs::write(folder.path().join("secret"), b"no").unwrap();
        folder
    }

    fn found(folder: &tempfile::TempDir, name: &str) -> Result<String, Denied> {
        Root::new(&folder.path().join("root"))
            .open(name)
            .map(|opened| opened.name)
    }

    #[test]
    fn names_are_taken_as_windows_writes_them() {
        let folder = root();
        for name in [
            "winboot/New/Boot/BCD",
            "\\winboot\\New\\Boot\\BCD",
            "/WINBOOT//new/./boot/bcd",
            "winboot\\new\\boot\\Bcd",
        ] {
            assert_eq!(found(&folder, name).unwrap(), "winboot/New/Boot/BCD");
        }
        let long = "./".repeat(480) + "winboot\\.\\New/Boot//BCD";
        assert_eq!(found(&folder, &long).unwrap(), "winboot/New/Boot/BCD");
        let root = Root::new(&folder.path().join("root"));
        let opened = root.open("BOOTMGR.EXE").unwrap();
        assert_eq!((opened.name.as_str(), opened.size), ("bootmgr.exe", 2));
    }

    #[test]
    fn the_exact_name_wins_and_two_others_are_none() {
        let folder = root();
        let root = folder.path().join("root");
        fs::write(root.join("BootMgr.exe"), b"").unwrap();
        assert_eq!(found(&folder, "bootmgr.exe").unwrap(), "bootmgr.exe");
        assert_eq!(found(&folder, "BootMgr.exe").unwrap(), "BootMgr.exe");
        assert!(matches!(
            found(&folder, "BOOTMGR.EXE"),
            Err(Denied::Missing)
        ));
    }

    #[test]
    fn nothing_outside_is_opened() {
        let folder = root();
        let root = folder.path().join("root");
        symlink("../secret", root.join("out")).unwrap();
        symlink(folder.path(), root.join("up")).unwrap();
        symlink("winboot/New", root.join("in")).unwrap();
        symlink(folder.path().join("secret"), root.join("absolute")).unwrap();
        symlink("/nowhere", root.join("nowhere")).unwrap();
        for name in [
            "../secret",
            "winboot/../../secret",
            "..\\secret",
            "out",
            "up/secret",
            "OUT",
            "absolute",
            "nowhere",
            "../root/bootmgr.exe",
        ] {
            let denied = found(&folder, name).unwrap_err();
            assert!(matches!(denied, Denied::Outside), "{name}: {denied}");
            assert_eq!(denied.refusal().code, Code::AccessViolation);
        }
        assert_eq!(found(&folder, "in/Boot/BCD").unwrap(), "in/Boot/BCD");
        assert_eq!(
            found(&folder, "/etc/passwd").unwrap_err().refusal().code,
            Code::NotFound
        );
    }

    #[test]
    fn absolute_links_may_lead_elsewhere_in_the_root() {
        let folder = root();
        let root = folder.path().join("root");
        symlink(root.join("winboot/New"), root.join("winboot/current")).unwrap();
        symlink(&root, folder.path().join("link")).unwrap();
        for name in ["winboot/current/Boot/BCD", "WINBOOT\\CURRENT\\BOOT\\BCD"] {
            let found = found(&folder, name).unwrap();
            assert_eq!(found, "winboot/current/Boot/BCD");
        }
        let linked = Root::new(&folder.path().join("link"));
        assert_eq!(linked.open("winboot/current/Boot/BCD").unwrap().size, 4);
    }

    #[test]
    fn only_regular_files_are_sent() {
        let folder = root();
        let fifo = folder.path().join("root/fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for name in ["winboot", "fifo", "", "/"] {
            let denied = found(&folder, name).unwrap_err();
            assert_eq!(denied.refusal().code, Code::NotFound, "{name}: {denied}");
        }
    }

    #[test]
    fn files_renamed_elsewhere_do_not_matter() {
        let folder = root();
        let elsewhere = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| elsewhere.path().join(name));
        fs::write(&one, b"").unwrap();
        symlink("../winboot/New", folder.path().join("root/winboot/in")).unwrap();
        let root = Root::new(&folder.path().join("root"));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    fs::rename(&one, &two).unwrap();
                    fs::rename(&two, &one).unwrap();
                }
            });
            let denied = (0..20_000).find_map(|_| root.open("winboot/in/Boot/BCD").err());
            is_over.store(true, Ordering::Relaxed);
            assert!(denied.is_none(), "{denied:?}");
        });
    }

    #[test]
    fn only_what_may_not_be_read_is_an_access_violation() {
        let code = |errno: Errno| Denied::from(errno).refusal().code;
        assert_eq!(
            [Errno::ACCESS, Errno::AGAIN, Errno::IO, Errno::MFILE].map(code),
            [
                Code::AccessViolation,
                Code::Undefined,
                Code::Undefined,
                Code::Undefined
            ]
        );
    }
}
