//! Reads a file that others rewrite in place, without lock or rename.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use rustix::process::geteuid;

/// The size of the largest file that is read, in bytes: 2,000,000 records of 200 bytes.
pub const LIMIT: u64 = 400_000_000;

const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// How long a file that looks incomplete must not have changed before it is taken as it is.
pub(crate) const REST: Duration = Duration::from_secs(2);

/// How long such a file may go on changing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no such file.
    #[error("{}: no such file; check the path", .0.display())]
    Missing(PathBuf),
    /// A directory, device, FIFO or socket.
    #[error("{}: not a regular file; name the file itself", .0.display())]
    NotRegular(PathBuf),
    /// More than [`LIMIT`] bytes.
    #[error(
        "{}: {size} bytes is more than the {LIMIT} (2,000,000 records) that are read; \
         check that this is the right file",
        .path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// It changed during every attempt to read it.
    #[error("{}: changes while it is read; try again once its writer is done", .0.display())]
    Changing(PathBuf),
    /// Text in an encoding that is not read.
    #[error("{}: is text in {found}; save it as UTF-8", .path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// Its encoding.
        found: &'static str,
    },
    /// The system refuses to open or read it.
    #[error("{}: cannot be read: {source}; {}", .path.display(), remedy(.source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// What helps where a file cannot be read.
fn remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied && geteuid().is_root() {
        "make it readable for root or for everybody (`chmod a+r`): the daemon gives up root's right to \
         ignore permissions"
    } else {
        "check its permissions"
    }
}

/// Reads the file at `path` as a whole. If it changes meanwhile, it is read again, up to three
/// times, 50 ms apart.
///
/// # Errors
/// If the file cannot be read: see [`FileError`]. A FIFO or device is refused, and never waited
/// for.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    read_until(path, |_| true)
}

/// Reads the file at `path` like [`read`], and also again while `whole` considers it incomplete.
/// After the last attempt, a file that no longer changes is returned even if `whole` rejects it.
///
/// # Errors
/// If the file cannot be read: see [`FileError`].
pub(crate) fn read_until(path: &Path, whole: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, FileError> {
    let mut at_rest = None;
    for attempt in 0..TRIES {
        if attempt > 0 {
            thread::sleep(PAUSE);
        }
        at_rest = read_once(path)?;
        if at_rest.as_deref().is_some_and(&whole) {
            break;
        }
    }
    at_rest.ok_or_else(|| FileError::Changing(path.to_owned()))
}

/// Reads the file at `path` like [`read_until`]. While `whole` considers it incomplete, it is given
/// time until it has not changed for [`REST`].
///
/// # Errors
/// If the file cannot be read, or goes on changing: see [`FileError`].
pub(crate) fn read_at_rest(
    path: &Path,
    whole: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, FileError> {
    let started = Instant::now();
    loop {
        let bytes = read_until(path, &whole)?;
        if whole(&bytes) || rested(path).is_none_or(|rested| rested >= REST) {
            return Ok(bytes);
        }
        if started.elapsed() >= PATIENCE {
            return Err(FileError::Changing(path.to_owned()));
        }
        thread::sleep(PAUSE);
    }
}

/// How long the file has not changed; `None` if nobody knows.
fn rested(path: &Path) -> Option<Duration> {
    fs::metadata(path).ok()?.modified().ok()?.elapsed().ok()
}

/// Passes on the file at `path` in pieces of so many bytes, of which the last may be shorter, as long as
/// `each` takes them. Returns whether it took all of the file, which did not change meanwhile.
///
/// # Errors
/// If the file cannot be read: see [`FileError`].
pub(crate) fn read_in_pieces(
    path: &Path,
    size: usize,
    mut each: impl FnMut(&[u8]) -> bool,
) -> Result<bool, FileError> {
    let (mut file, before) = open(path)?;
    let mut piece = Vec::with_capacity(size);
    let mut read = 0;
    loop {
        piece.clear();
        file.by_ref()
            .take(size as u64)
            .read_to_end(&mut piece)
            .map_err(|error| failed(path, error))?;
        if piece.is_empty() {
            return is_unchanged(&file, &before, read).map_err(|error| failed(path, error));
        }
        read += piece.len() as u64;
        // A file that grows without end must not be read without end.
        if read > before.len() || !each(&piece) {
            return Ok(false);
        }
    }
}

/// Reads the file once; `None` if it changed meanwhile.
fn read_once(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let (mut file, before) = open(path)?;
    let size = before.len();
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // A file that grows without end must not be read without end.
    file.by_ref()
        .take(size.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| failed(path, error))?;
    let unchanged = is_unchanged(&file, &before, bytes.len() as u64);
    let unchanged = unchanged.map_err(|error| failed(path, error))?;
    Ok(unchanged.then_some(bytes))
}

fn failed(path: &Path, source: io::Error) -> FileError {
    match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ => FileError::Io {
            path: path.to_owned(),
            source,
        },
    }
}

/// Opens a regular file that is not too large, without blocking, so that a FIFO is not waited for.
fn open(path: &Path) -> Result<(File, Metadata), FileError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let file = options.open(path).map_err(|error| failed(path, error))?;
    let metadata = file.metadata().map_err(|error| failed(path, error))?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular(path.to_owned()));
    }
    let size = metadata.len();
    if size > LIMIT {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            size,
        });
    }
    Ok((file, metadata))
}

/// Whether a file of which so many bytes were read is what it was `before`.
fn is_unchanged(file: &File, before: &Metadata, read: u64) -> io::Result<bool> {
    Ok(stamp(before) == stamp(&file.metadata()?) && read == before.len())
}

fn stamp(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_irregular_files_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert!(matches!(read(&missing), Err(FileError::Missing(path)) if path == missing));
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [folder.path(), &fifo, Path::new("/dev/zero")] {
            let error = read(path).unwrap_err();
            assert!(matches!(error, FileError::NotRegular(_)), "{error}");
            assert!(
                error.to_string().starts_with(&path.display().to_string()),
                "{error}"
            );
        }
    }

    #[test]
    fn too_large_a_file_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        File::create(&path).unwrap().set_len(LIMIT + 1).unwrap();
        assert!(matches!(read(&path), Err(FileError::TooLarge { size, .. }) if size == LIMIT + 1));
    }

    #[test]
    fn half_a_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("half");
        fs::write(&path, "ha").unwrap();
        let whole = |bytes: &[u8]| {
            fs::write(&path, "half").unwrap();
            bytes.len() == 4
        };
        assert_eq!(read_until(&path, whole).unwrap(), b"half");
        assert_eq!(
            read_until(&path, |_| false).unwrap(),
            b"half",
            "at rest, so it is what there is"
        );
    }

    #[test]
    fn a_file_is_read_in_pieces_unless_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut pieces = Vec::new();
        let mut read = |each: &mut dyn FnMut() -> bool| {
            pieces.clear();
            let whole = read_in_pieces(&path, 4, |piece| {
                pieces.push(String::from_utf8(piece.to_vec()).unwrap());
                each()
            });
            (whole.unwrap(), pieces.join("|"))
        };
        fs::write(&path, "").unwrap();
        assert_eq!(read(&mut || true), (true, String::new()));
        fs::write(&path, "123456789").unwrap();
        assert_eq!(read(&mut || true), (true, "1234|5678|9".to_owned()));
        assert_eq!(read(&mut || false), (false, "1234".to_owned()));
        for other in ["12345678", "1234567890", "1234567890123"] {
            let mut change = || {
                fs::write(&path, other).unwrap();
                true
            };
            assert!(!read(&mut change).0, "{other}");
            fs::write(&path, "123456789").unwrap();
        }
        let missing = read_in_pieces(&folder.path().join("missing"), 4, |_| true);
        assert!(matches!(missing, Err(FileError::Missing(_))));
    }

    #[test]
    fn a_file_that_never_is_what_its_size_says_is_given_up_on() {
        let error = read(Path::new("/proc/self/status")).unwrap_err();
        assert!(matches!(error, FileError::Changing(_)), "{error}");
    }
}
