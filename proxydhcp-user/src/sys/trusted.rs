//! Folders that nobody but root and this user may change: what is found in them was put there by
//! them, and may be followed, replaced and removed.
//!
//! A folder is looked at by its descriptor, never through a link in its place, and what is in it is
//! reached by that descriptor.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat, fstat, mkdirat, open, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_DO_ANYTHING: u32 = 0o077;
const STICKY: u32 = 0o1000;

/// A folder that only root and this user may change; or one that is sticky, where others may add
/// what they like, but touch nothing that is not theirs.
#[derive(Debug)]
pub(crate) struct TrustedFolder {
    descriptor: OwnedFd,
    path: PathBuf,
    stat: Stat,
}

/// Why a folder is not followed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Whoever it belongs to may put there what he likes.
    #[error("{} belongs to user {owner}, who may change what is in it; remove it, or give it to root", .path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// All of these may put there what they like.
    #[error("{0} may be changed by others, with its mode of {1:o}; `chmod go-w {0}` ends that", .path.display(), .mode)]
    Writable {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A link, a file, or what the system says of it.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl FolderError {
    fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// Whether there is no such folder.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl TrustedFolder {
    /// Opens a folder that nobody else may change.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let folder = Self::open_shared(path)?;
        folder.refuse_sticky()?;
        Ok(folder)
    }

    /// The same, and one that is sticky, as /tmp is.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn open_shared(path: &Path) -> Result<Self, FolderError> {
        let opened = open(path, FOLDER, Mode::empty());
        Self::of(
            opened.map_err(|error| FolderError::io(path, error))?,
            path.to_owned(),
        )
    }

    /// Opens the folder that `path` leads to, be it through links, as /var/run does; it may be sticky.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn follow(path: &Path) -> Result<Self, FolderError> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let led_to = path.canonicalize();
        Self::open_shared(&led_to.map_err(|error| FolderError::io(path, error))?)
    }

    fn of(descriptor: OwnedFd, path: PathBuf) -> Result<Self, FolderError> {
        let stat = fstat(&descriptor).map_err(|error| FolderError::io(&path, error))?;
        let folder = Self {
            descriptor,
            path,
            stat,
        };
        let owner = stat.st_uid;
        if ![0, geteuid().as_raw()].contains(&owner) {
            let path = folder.path;
            return Err(FolderError::Foreign { path, owner });
        }
        if folder.is_writable() && stat.st_mode & STICKY == 0 {
            return Err(folder.writable());
        }
        Ok(folder)
    }

    fn is_writable(&self) -> bool {
        let Stat {
            st_mode, st_gid, ..
        } = self.stat;
        // Who is in root's group is root.
        let by_group = st_mode & GROUP_WRITES != 0 && st_gid != 0;
        by_group || st_mode & OTHERS_WRITE != 0
    }

    fn writable(&self) -> FolderError {
        FolderError::Writable {
            path: self.path.clone(),
            mode: self.stat.st_mode & 0o7777,
        }
    }

    fn refuse_sticky(&self) -> Result<(), FolderError> {
        if self.is_writable() {
            return Err(self.writable());
        }
        Ok(())
    }

    /// Whether others cannot even look into it, and so hold no lock on it.
    pub(crate) fn is_private(&self) -> bool {
        self.stat.st_mode & OTHERS_DO_ANYTHING == 0
    }

    /// Opens a folder in it that nobody else may change.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn child(&self, name: &str) -> Result<Self, FolderError> {
        let path = self.path.join(name);
        let opened = openat(&self.descriptor, name, FOLDER, Mode::empty());
        let child = Self::of(opened.map_err(|error| FolderError::io(&path, error))?, path)?;
        child.refuse_sticky()?;
        Ok(child)
    }

    /// The same, which is made for this user alone where it is missing.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn make_child(&self, name: &str) -> Result<Self, FolderError> {
        match mkdirat(&self.descriptor, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => self.child(name),
            Err(error) => Err(FolderError::io(&self.path.join(name), error)),
        }
    }

    /// The names of what is in it.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor)? {
            let entry = entry?;
            let name = CStr::to_str(entry.file_name()).unwrap_or_default();
            if !["", ".", ".."].contains(&name) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Whether there is something of this name in it.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes a file in it, if it is there.
    ///
    /// # Errors
    /// The file is a folder, or the file system is read-only.
    pub(crate) fn unlink(&self, name: &str) -> io::Result<()> {
        removed(unlinkat(&self.descriptor, name, AtFlags::empty()))
    }

    /// Removes a folder in it, if it is there.
    ///
    /// # Errors
    /// The system's; it is not empty.
    pub(crate) fn remove_child(&self, name: &str) -> io::Result<()> {
        removed(unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its name in the folder that it is in.
    pub(crate) fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    /// The kernel's number for it.
    pub(crate) fn inode(&self) -> u64 {
        self.stat.st_ino
    }

    /// One more hold on it.
    ///
    /// # Errors
    /// There are too many open files.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self {
            descriptor: self.descriptor.try_clone()?,
            path: self.path.clone(),
            stat: self.stat,
        })
    }
}

impl AsFd for TrustedFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The outcome of a removal: what is not there need not be removed.
///
/// # Errors
/// The system's, unless it is that there is no such file.
pub(crate) fn removed(outcome: Result<(), impl Into<io::Error>>) -> io::Result<()> {
    match outcome.map_err(Into::into) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_others_may_change_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let is = |mode: u32| {
            set_mode(&path, mode);
            let taken = [
                TrustedFolder::open(&path),
                TrustedFolder::open_shared(&path),
            ];
            taken.map(|taken| taken.is_ok())
        };
        assert_eq!(is(0o700), [true, true]);
        assert_eq!(is(0o755), [true, true]);
        assert_eq!(is(0o1777), [false, true]);
        assert_eq!(is(0o757), [false, false]);
        let error = TrustedFolder::open_shared(&path).unwrap_err().to_string();
        assert!(error.contains("mode of 757; `chmod go-w /"), "{error}");
        set_mode(&path, 0o700);
    }

    #[test]
    fn a_link_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let outer = TrustedFolder::open(folder.path()).unwrap();
        outer.make_child("real").unwrap();
        symlink(folder.path().join("real"), folder.path().join("link")).unwrap();
        assert!(outer.child("real").is_ok());
        assert!(outer.child("link").is_err() && outer.make_child("link").is_err());
        assert!(outer.child("none").unwrap_err().is_missing());
    }
}
