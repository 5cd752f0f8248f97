//! Replacing a file as a whole: a reader, now or after a power cut, finds the old bytes or the new
//! ones, and never a part of either.
//!
//! The new bytes go into a temporary file beside it, which then takes its name by rename(2). That is
//! all of [`write`]. A [`Replacement`] is for files that have several writers: a lock (flock(2)) is
//! held from before the file is read. It is on a file of its own, which stays, for the file itself is
//! renamed away with every lock on it. The kernel releases it however its holder ends.

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

/// Whether a file is to be there after a power cut, which takes the disk its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    Yes,
    /// It is for this run of the system alone.
    No,
}

/// Writes a file of this program alone, which all may read, in the place of the one that is there.
///
/// # Errors
/// There is no such folder, or no file may be made in it; the disk is full; `path` is a folder. What
/// was there is as it was.
pub(crate) fn write(path: &Path, bytes: &[u8], lasting: Lasting) -> io::Result<()> {
    let folder = folder_of(path);
    let name = path.file_name().unwrap_or_default();
    let mut hidden = OsString::from(".");
    hidden.push(name);
    // A name of its own, so that two writers at once do not write into one file.
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

/// Gives a temporary file the name that it was made for.
fn take_place(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Has a new name in a folder outlive a power cut.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Another writer takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The mode of a file that was not there before; that of a [`Replacement`] less the umask.
const MODE: u32 = 0o644;
/// Those who may lock the file could keep all others from writing.
const LOCK_MODE: u32 = 0o600;
const PERMISSION_BITS: u32 = 0o7777;

/// The right to replace a file, which one process has at a time. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// The file itself, where the path given is a link to it.
    target: PathBuf,
    folder: PathBuf,
    /// The name of the temporary file.
    temporary: OsString,
    before: Option<Metadata>,
    /// Held.
    _lock: File,
}

impl Replacement {
    /// Waits for the right to replace `path`, which need not exist. What a writer that was killed
    /// has left beside it is removed.
    ///
    /// # Errors
    /// There is no such folder, or no file may be made in it; another writer holds on to the right.
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

    /// Writes these bytes to a new file beside it, whose name is the file's own with `end` after it,
    /// and returns its path. It has the file's owner and mode.
    ///
    /// # Errors
    /// There is such a file already; the disk is full, or cannot be written.
    pub(crate) fn set_aside(&self, end: &str, bytes: &[u8]) -> Result<PathBuf> {
        let mut name = self.target.clone().into_os_string();
        name.push(end);
        let aside = PathBuf::from(name);
        let written = self.create(bytes).and_then(|file| {
            // Unlike a rename, this takes no other file's place.
            Ok(fs::hard_link(file.path(), &aside)?)
        });
        written.with_context(|| format!("{}: cannot be written", aside.display()))?;
        Ok(aside)
    }

    /// Gives the file these bytes, and the owner and mode that it had.
    ///
    /// # Errors
    /// The file is write-protected, or was changed by a program that does not ask for the right; the
    /// disk is full, or cannot be written. The file is as it was, unless the error says otherwise.
    pub(crate) fn replace(&self, bytes: &[u8]) -> Result<()> {
        let shown = self.target.display();
        if self.before.is_some() {
            access(&self.target, Access::WRITE_OK).map_err(|error| {
                let error = io::Error::from(error);
                anyhow::anyhow!("{shown}: is write-protected: {error}; it is as it was")
            })?;
        }
        self.write(bytes)
            .with_context(|| format!("{shown}: cannot be replaced; it is as it was"))?;
        sync(&self.folder)
            .with_context(|| format!("{shown}: written, but a power cut may yet undo it"))
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let file = self.create(bytes)?;
        // xCAT's writer knows no lock. This leaves it some microseconds to lose its work in.
        if metadata(&self.target)?.as_ref().map(stamp) != self.before.as_ref().map(stamp) {
            bail!("another program has changed it meanwhile; try again");
        }
        Ok(take_place(file, &self.target)?)
    }

    /// Makes the temporary file with these bytes, on the disk, and with the owner and mode of the old
    /// one. Dropped, it is gone.
    fn create(&self, bytes: &[u8]) -> Result<NamedTempFile> {
        // There is none of this name, so that nothing is written through a link.
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
            // After the owner, whose change takes away some of the bits.
            on_disk.set_permissions(Permissions::from_mode(before.mode() & PERMISSION_BITS))?;
        }
        on_disk.sync_all()?;
        Ok(file)
    }
}

/// The folder of a file, which need not be there.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// What `path` is a link to, or itself.
fn target_of(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    match fs::canonicalize(path) {
        Ok(target) => return Ok(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{shown}: cannot be reached")),
    }
    if path.is_symlink() {
        bail!("{shown}: a link to a file that is not there; make that file, or remove the link");
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
            format!("{path}: cannot be written, for its lock {shown} cannot be opened")
        })?;
    // The kernel serves those who wait in their order. One who tries again and again is overtaken.
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
