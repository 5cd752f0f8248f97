//! The names in folders, kept until the folder changes. Anybody on the network can ask for names that do
//! not exist, and to list a large folder for each is slow; so none is listed more than once a second.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Dir, Stat, fstat};
use rustix::io::Errno;

/// The most folders that are kept.
const FOLDERS: usize = 256;
/// The most names that are kept, in all folders together: some 10 MB.
const NAMES: usize = 100_000;
/// A listing is used for this long, although the folder may have changed.
const A_SECOND: Duration = Duration::from_secs(1);
/// A folder that has changed within this time may change once more without a later date, as clocks of
/// file systems are coarse. Its date says nothing.
const SETTLED: Duration = Duration::from_secs(3);

/// The listings of folders.
#[derive(Debug, Default)]
pub(super) struct Listings(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    folders: HashMap<Id, Listing>,
    names: usize,
}

#[derive(Debug)]
struct Listing {
    at: Instant,
    /// Missing if the folder had changed just before.
    version: Option<Version>,
    names: Arc<Names>,
}

/// The device and the inode.
type Id = (u64, u64);
/// When it was changed: seconds and nanoseconds, of the names and of the inode.
type Version = [(i64, i64); 2];

/// The names in a folder.
#[derive(Debug)]
pub(super) struct Names(Vec<Name>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    lower: Box<str>,
    name: Box<str>,
}

impl Listings {
    /// The names in a folder.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn of(&self, folder: File) -> Result<Arc<Names>, Errno> {
        let stat = fstat(&folder)?;
        let (id, version) = ((stat.st_dev, stat.st_ino), version(&stat));
        if let Some(kept) = self.kept().folders.get(&id)
            && (kept.version == Some(version) || kept.at.elapsed() < A_SECOND)
        {
            return Ok(Arc::clone(&kept.names));
        }
        // Without the lock: a disk that hangs is not to hold up the requests for other folders.
        let names = Arc::new(Names::read(folder)?);
        let listing = Listing {
            at: Instant::now(),
            version: has_settled(&stat).then_some(version),
            names: Arc::clone(&names),
        };
        self.kept().keep(id, listing);
        Ok(names)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, id: Id, listing: Listing) {
        let count = |listing: &Listing| listing.names.0.len();
        if let Some(old) = self.folders.remove(&id) {
            self.names -= count(&old);
        }
        let more = count(&listing);
        if self.folders.len() >= FOLDERS || self.names + more > NAMES {
            *self = Self::default();
        }
        if more <= NAMES {
            self.names += more;
            self.folders.insert(id, listing);
        }
    }
}

impl Names {
    fn read(folder: File) -> Result<Self, Errno> {
        let mut names = Vec::new();
        for entry in Dir::new(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name != "." && name != ".." {
                names.push(Name {
                    lower: name.to_lowercase().into(),
                    name: name.into(),
                });
            }
        }
        names.sort_unstable();
        Ok(Self(names))
    }

    /// The name that is exactly this one, or else the only one that differs from it in letter case
    /// alone.
    pub(super) fn find(&self, wanted: &str) -> Option<&str> {
        let lower = wanted.to_lowercase();
        let first = self.0.partition_point(|it| *it.lower < *lower);
        let after = self.0.get(first..).unwrap_or_default();
        let alike = after.get(..after.partition_point(|it| *it.lower == *lower))?;
        let exact = alike.iter().find(|it| &*it.name == wanted);
        let found = match (exact, alike) {
            (None, [only]) => Some(only),
            (exact, _) => exact,
        };
        found.map(|it| &*it.name)
    }
}

fn version(stat: &Stat) -> Version {
    let part = |seconds: i64, nanoseconds: u64| (seconds, i64::try_from(nanoseconds).unwrap_or(0));
    [
        part(stat.st_mtime, stat.st_mtime_nsec),
        part(stat.st_ctime, stat.st_ctime_nsec),
    ]
}

/// Whether the folder was changed so long ago that a further change has another date.
fn has_settled(stat: &Stat) -> bool {
    let changed = u64::try_from(stat.st_mtime.max(stat.st_ctime)).unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
    changed.elapsed().is_ok_and(|since| since > SETTLED)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn names(listings: &Listings, folder: &Path) -> Arc<Names> {
        listings.of(File::open(folder).unwrap()).unwrap()
    }

    #[test]
    fn a_folder_is_listed_anew_when_it_has_changed_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let listings = Listings::default();
        fs::write(folder.path().join("One"), b"").unwrap();
        // As it has just been changed, its listing is not kept for long at first.
        let is_kept = (0..60).any(|_| {
            let first = names(&listings, folder.path());
            assert_eq!(first.find("ONE"), Some("One"));
            std::thread::sleep(A_SECOND);
            Arc::ptr_eq(&first, &names(&listings, folder.path()))
        });
        assert!(is_kept);
        fs::write(folder.path().join("Two"), b"").unwrap();
        assert_eq!(names(&listings, folder.path()).find("two"), Some("Two"));
        // This may be in the same tick of the file system's clock.
        fs::write(folder.path().join("Three"), b"").unwrap();
        std::thread::sleep(A_SECOND);
        assert_eq!(names(&listings, folder.path()).find("THREE"), Some("Three"));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let listing = |count: usize| {
            let name = |n: usize| Name {
                lower: n.to_string().into(),
                name: n.to_string().into(),
            };
            Listing {
                at: Instant::now(),
                version: None,
                names: Arc::new(Names((0..count).map(name).collect())),
            }
        };
        let mut kept = Kept::default();
        for n in 0..1000 {
            kept.keep((0, n), listing(1));
            kept.keep((0, n), listing(3));
            assert!(kept.folders.len() <= FOLDERS);
        }
        kept.keep((1, 0), listing(NAMES));
        assert_eq!((kept.folders.len(), kept.names), (1, NAMES));
        kept.keep((1, 1), listing(NAMES + 1));
        assert_eq!((kept.folders.len(), kept.names), (0, 0));
    }
}
