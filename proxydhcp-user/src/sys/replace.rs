//! Replaces a file as a whole: a reader, now or after a power cut, finds either the old bytes or
//! the new ones, never a mixture.
//!
//! The new bytes go into a temporary file beside it, which then takes its name by rename(2).
//! [`write`] does no more than that. A [`Replacement`] is for files with several writers: it holds
//! a lock (flock(2)) from before the file is read. The lock is on a separate file, which stays,
//! because the file itself is replaced, along with any lock on it. The kernel releases the lock
//! however its holder ends.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{Access, access};
use tempfile::{Builder, NamedTempFile};

/// Whether a file must survive a power cut, for which the disk needs time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    Yes,
    /// It only serves until the next boot.
    No,
}

/// Writes a file that only this program writes and everybody may read, replacing the existing one.
///
/// # Errors
/// If the folder does not exist or is not writable, the disk is full, or `path` is a folder. The
/// existing file is then unchanged.
pub(crate) fn write(path: &Path, bytes: &[u8], lasting: Lasting) -> io::Result<()> {
    let folder = folder_of(path);
    let name = path.file_name().unwrap_or_default();
    let mut hidden = OsString::from(".");
    hidden.push(name);
    // A unique name, so that two simultaneous writers do not write into the same file.
    let mut file = Builder::new()
        .prefix(&hidden)
        .suffix(".new")
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    let readable = Permissions::from_mode(MODE);
    file.as_file().set_permissions(readable)?;
    if lasting == Lasting::No {
        return take_place(file, path);
    }
    file.as_file().sync_all()?;
    take_place(file, path)?;
    sync(folder)
}

/// Renames a temporary file to its final name.
fn take_place(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Makes a new name in a folder survive a power cut.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// How long to wait for another writer, which normally takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The mode of a new file; a [`Replacement`] applies the umask to it.
const MODE: u32 = 0o644;
/// The mode of the lock file: users who could lock it could keep all others from writing.
const LOCK_MODE: u32 = 0o600;
const PERMISSION_BITS: u32 = 0o7777;

/// The exclusive right to replace a file. Dropping it releases the right.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// The file itself, if the given path is a link to it.
    target: PathBuf,
    folder: PathBuf,
    /// The name of the temporary file.
    temporary: OsString,
    before: Option<Metadata>,
    /// Holds the lock.
    _lock: File,
}

impl Replacement {
    /// Waits for the right to replace `path`, which need not exist. What a killed writer has left
    /// beside it is removed.
    ///
    /// # Errors
    /// If the folder does not exist or is not writable, or another writer does not release the
    /// right.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        let target = target_of(path)?;
        let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
            bail!("{}: not a file; name the file itself", path.display());
        };
        let hidden = |end: &str| {
            let name = [OsStr::new("."), name, OsStr::new(end)];
            name.into_iter().collect::<OsString>()
        };
        let (folder, temporary) = (folder.to_owned(), hidden(".new"));
        let lock = lock(&folder.join(hidden(".lock")), path)?;
        let left = folder.join(&temporary);
        remove(&left)
            .with_context(|| format!("{}: cannot be removed; remove it by hand", left.display()))?;
        let before = metadata(&target)?;
        Ok(Self {
            target,
            folder,
            temporary,
            before,
            _lock: lock,
        })
    }

    /// Writes these bytes to a new file beside it, named after the file with `end` appended, and
    /// returns its path. The new file has the same owner and mode.
    ///
    /// # Errors
    /// If such a file exists already, or it cannot be written, as on a full disk.
    pub(crate) fn set_aside(&self, end: &str, bytes: &[u8]) -> Result<PathBuf> {
        let mut name = self.target.clone().into_os_string();
        name.push(end);
        let aside = PathBuf::from(name);
        let written = self.create(bytes).and_then(|file| {
            // Unlike a rename, a link never replaces another file.
            Ok(fs::hard_link(file.path(), &aside)?)
        });
        written.with_context(|| format!("{}: cannot be written", aside.display()))?;
        Ok(aside)
    }

    /// Replaces the contents of the file, and keeps its owner and mode.
    ///
    /// # Errors
    /// If the file is write-protected, was changed by a program that ignores the lock, or cannot be
    /// written, as on a full disk. The file is then unchanged, unless the error says otherwise.
    pub(crate) fn replace(&self, bytes: &[u8]) -> Result<()> {
        let shown = self.target.display();
        if self.before.is_some() {
            access(&self.target, Access::WRITE_OK).map_err(|error| {
                let error = io::Error::from(error);
                anyhow::anyhow!("{shown}: is write-protected: {error}; it is unchanged")
            })?;
        }
        self.write(bytes)
            .with_context(|| format!("{shown}: cannot be replaced; it is unchanged"))?;
        sync(&self.folder)
            .with_context(|| format!("{shown}: written, but a power cut may yet undo it"))
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let file = self.create(bytes)?;
        // xCAT's writer takes no lock. This leaves only microseconds in which its changes could be
        // lost.
        if metadata(&self.target)?.as_ref().map(stamp) != self.before.as_ref().map(stamp) {
            bail!("another program has changed it meanwhile; try again");
        }
        Ok(take_place(file, &self.target)?)
    }

    /// Creates the temporary file with these bytes, on the disk, and with the owner and mode of the
    /// old one. Dropping it removes it.
    fn create(&self, bytes: &[u8]) -> Result<NamedTempFile> {
        // The file must not exist yet, so that nothing is written through a link.
        let mut file = Builder::new()
            .prefix(&self.temporary)
            .rand_bytes(0)
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(&self.folder)?;
        file.write_all(bytes)?;
        let on_disk = file.as_file();
        if let Some(before) = &self.before {
            let now = on_disk.metadata()?;
            if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
                fchown(on_disk, Some(before.uid()), Some(before.gid()))
                    .context("cannot keep its owner; run this as root")?;
            }
            // The mode is set after the owner, because changing the owner clears some of its bits.
            on_disk.set_permissions(Permissions::from_mode(before.mode() & PERMISSION_BITS))?;
        }
        on_disk.sync_all()?;
        Ok(file)
    }
}

/// The folder of a file, which need not exist.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The target of the link `path`, or `path` itself.
fn target_of(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    match fs::canonicalize(path) {
        Ok(target) => return Ok(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{shown}: cannot be reached")),
    }
    if path.is_symlink() {
        bail!(
            "{shown}: a link to a file that does not exist; create that file, or remove the link"
        );
    }
    let name = path.file_name();
    let name = name.with_context(|| format!("{shown}: not a file; name the file itself"))?;
    let folder = fs::canonicalize(folder_of(path))
        .with_context(|| format!("{shown}: make its folder first, or check the path"))?;
    Ok(folder.join(name))
}

fn lock(lock: &Path, path: &Path) -> Result<File> {
    let (shown, path) = (lock.display(), path.display());
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(LOCK_MODE)
        .open(lock)
        .with_context(|| {
            format!("{path}: cannot be written, because its lock {shown} cannot be opened")
        })?;
    // The kernel serves waiting lockers in order. A process that polls would be overtaken.
    let (locked, waited) = mpsc::channel();
    thread::spawn(move || locked.send(file.lock().map(|()| file)));
    match waited.recv_timeout(PATIENCE) {
        Ok(file) => file.with_context(|| format!("{shown}: cannot be locked")),
        Err(_) => bail!(
            "{path}: another command has been writing it for {} s; see who by `fuser -v {shown}`, \
             and try again",
            PATIENCE.as_secs()
        ),
    }
}

fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn stamp(metadata: &Metadata) -> (u64, u64, u64, i64, i64) {
    let (device, inode) = (metadata.dev(), metadata.ino());
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    (device, inode, metadata.len(), seconds, nanoseconds)
}
