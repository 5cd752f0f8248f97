//! Makes a folder as a whole: it is filled under a hidden name beside its place, and takes its place in
//! one step once all of it is on the disk. A reader, now or after a power cut, finds the old folder or the
//! new one.
//!
//! What a killed command has left under the hidden name is removed by the next one. That no other command
//! is at work on it is known by a lock (flock(2)) on the hidden folder itself.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Nobody else looks into a folder that is not whole.
const HIDDEN_MODE: u32 = 0o700;
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
/// How often a folder is made anew that another command has taken for a left one.
const TRIES: usize = 5;

/// A folder that is being made. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct NewFolder {
    hidden: PathBuf,
    place: PathBuf,
    /// Holds the lock on what is at the hidden path.
    held: File,
}

impl NewFolder {
    /// Begins a folder that will be at `place`.
    ///
    /// # Errors
    /// Another command makes the same folder, or the one that it is to be in is not there or not
    /// writable.
    pub(crate) fn begin(place: &Path) -> Result<Self> {
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            bail!("{}: not the path of a folder to make", place.display());
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".new");
        let hidden = parent.join(hidden);
        for _ in 0..TRIES {
            let made = DirBuilder::new().mode(HIDDEN_MODE).create(&hidden);
            let is_new = match made {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("{}: cannot be made", hidden.display()));
                }
            };
            let Some(held) = hold(&hidden)? else { continue };
            if is_new {
                let place = place.to_owned();
                return Ok(Self {
                    hidden,
                    place,
                    held,
                });
            }
            remove(&hidden, &held)?;
        }
        bail!(
            "{}: other commands remove it again and again; try later",
            hidden.display()
        )
    }

    /// Where it is filled.
    pub(crate) fn path(&self) -> &Path {
        &self.hidden
    }

    /// Puts it in its place, where there must be no folder yet, or one that is to be replaced.
    /// Everybody may read it then.
    ///
    /// # Errors
    /// The disk is full, or the file system cannot swap folders. What was there before is unchanged.
    pub(crate) fn put(mut self) -> Result<()> {
        let shown = self.place.display().to_string();
        settle(&self.hidden).with_context(|| format!("{shown}: cannot be written"))?;
        let parent = self.place.parent().unwrap_or(Path::new("."));
        let synced = |()| File::open(parent)?.sync_all();
        match fs::symlink_metadata(&self.place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let renamed = fs::rename(&self.hidden, &self.place);
                renamed.with_context(|| format!("{shown}: cannot take its name"))?;
                return synced(()).with_context(|| unsure(&shown));
            }
            old => old.with_context(|| shown.clone())?,
        };
        let Some(old) = hold(&self.place)? else {
            bail!("{shown}: another command has changed it meanwhile; try again");
        };
        let swapped = renameat_with(CWD, &self.hidden, CWD, &self.place, RenameFlags::EXCHANGE);
        swapped.map_err(|error| match error {
            Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => anyhow::anyhow!(
                "{shown}: its file system cannot swap folders; make the new one under another name, \
                 and set the nodes to that"
            ),
            error => anyhow::Error::new(io::Error::from(error))
                .context(format!("{shown}: cannot be replaced; it is unchanged")),
        })?;
        // What is under the hidden name now is removed by dropping this.
        self.held = old;
        synced(()).with_context(|| unsure(&shown))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // What stays is removed by the next command.
        let _ = remove(&self.hidden, &self.held);
    }
}

/// Removes a folder in one step; what is in it goes afterwards.
///
/// # Errors
/// It cannot be renamed or removed.
pub(crate) fn take_away(place: &Path) -> Result<()> {
    let new = NewFolder::begin(place)?;
    let shown = place.display().to_string();
    let Some(old) = hold(place)? else {
        bail!("{shown}: another command has changed it meanwhile; try again");
    };
    // An empty folder may be renamed over.
    fs::rename(place, &new.hidden).with_context(|| format!("{shown}: cannot be removed"))?;
    let parent = place.parent().unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    let hidden = new.hidden.clone();
    drop(new);
    remove(&hidden, &old).with_context(|| format!("{}: cannot be removed", hidden.display()))?;
    synced.with_context(|| format!("{shown}: removed, but a power cut may yet undo it"))
}

fn unsure(shown: &str) -> String {
    format!("{shown}: made, but a power cut may yet undo it")
}

/// Locks a folder; `None` if another has taken its place meanwhile.
fn hold(folder: &Path) -> Result<Option<File>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(folder);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("{}: not a folder, or a link", folder.display()));
        }
        Ok(file) => file,
    };
    match file.try_lock() {
        Ok(()) => Ok(is_at(&file, folder).then_some(file)),
        Err(TryLockError::WouldBlock) => bail!(
            "{}: another command is at work on it; try again when that has ended",
            folder.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{}: cannot be locked", folder.display()))
        }
    }
}

/// Whether this is the folder at a path.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

/// Removes the folder at a path, if it is the one that is held.
fn remove(path: &Path, held: &File) -> io::Result<()> {
    if !is_at(held, path) {
        return Ok(());
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Brings all that is in a folder to the disk, for everybody to read.
fn settle(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            settle(&path)?;
            continue;
        }
        let file = File::open(&path)?;
        // An image that another folder has, too, is as it should be.
        if file.metadata()?.mode() & 0o7777 != FILE_MODE {
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        }
        file.sync_all()?;
    }
    let file = File::open(folder)?;
    file.set_permissions(Permissions::from_mode(FOLDER_MODE))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    }

    fn filled(place: &Path, text: &str) -> NewFolder {
        let new = NewFolder::begin(place).unwrap();
        fs::create_dir(new.path().join("sub")).unwrap();
        fs::write(new.path().join("sub/file"), text).unwrap();
        new
    }

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("a");
        let new = filled(&place, "one");
        assert_eq!(names(root.path()), [".a.new"]);
        let error = NewFolder::begin(&place).unwrap_err().to_string();
        assert!(error.contains("another command is at work"), "{error}");
        new.put().unwrap();
        assert_eq!(names(root.path()), ["a"]);
        let modes = ["a", "a/sub", "a/sub/file"].map(|path| {
            let metadata = fs::metadata(root.path().join(path)).unwrap();
            metadata.mode() & 0o7777
        });
        assert_eq!(modes, [0o755, 0o755, 0o644]);

        drop(filled(&place, "two"));
        assert_eq!(names(root.path()), ["a"]);
        let open = File::open(place.join("sub/file")).unwrap();
        filled(&place, "two").put().unwrap();
        assert_eq!(names(root.path()), ["a"]);
        assert_eq!(fs::read(place.join("sub/file")).unwrap(), b"two");
        // Who fetches the old file goes on with it.
        assert_eq!(io::read_to_string(open).unwrap(), "one");

        take_away(&place).unwrap();
        assert_eq!(names(root.path()), [""; 0]);
    }

    #[test]
    fn what_a_killed_command_has_left_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("a");
        fs::create_dir_all(root.path().join(".a.new/sub")).unwrap();
        filled(&place, "one").put().unwrap();
        assert_eq!(names(root.path()), ["a"]);
        // A link that somebody has put there is not followed.
        let other = root.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("precious"), "").unwrap();
        std::os::unix::fs::symlink(&other, root.path().join(".a.new")).unwrap();
        let error = NewFolder::begin(&place).unwrap_err().to_string();
        assert!(error.contains("a link"), "{error}");
        assert_eq!(names(&other), ["precious"]);
    }
}
