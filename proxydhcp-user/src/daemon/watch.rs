//! Notices that the files have changed, once their writer is done.
//!
//! inotify watches the folders, not the files, so that a file may be written in place, renamed into
//! place, removed, or not be there yet. Where a file is a symbolic link, the folders of all that it
//! leads over are watched. An event is a hint alone: what counts is whether a file is another one, or
//! of another size or time, than when it was last looked at. So no event is too many or too few, and
//! those that the kernel drops are made up for. Where the kernel will not watch a folder, the files
//! are looked at from time to time, until it does.
//!
//! All of this is on a thread of its own, for the files may be on a disk that hangs.
//!
//! What inotify does not see, this does not: changes that another host makes on a network file
//! system, and a folder on the way that is a symbolic link and is made to lead elsewhere.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::watch::Sender;
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use crate::nodes::cfg::RECORD;

mod thread;

use thread::Told;
pub(super) use thread::Watching;
pub(crate) use thread::start;

/// Files at rest for so long are taken for written.
const QUIET: Duration = Duration::from_millis(50);

/// A file that is missing, or cut within a record, is waited for as long as it grows, and so much
/// longer.
const HALF: Duration = Duration::from_secs(2);

/// A file that its writer holds open is waited for as long as it changes, and so much longer.
const OPEN: Duration = Duration::from_secs(10);

/// Whatever goes on, the files are read after this time.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long after a folder could not be watched that is tried again: the first time, and at most.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// The links that one file may lead over, as in the kernel (`path_resolution(7)`).
const LINKS: usize = 40;

/// The watch over the files.
struct Watch {
    /// `proxydhcp.cfg`, the hosts file, and that of disabled nodes.
    files: [PathBuf; 3],
    /// Takes, of all that is told, the trouble.
    tell: Sender<Told>,
    /// How long is waited next where there is trouble.
    pause: Duration,
    inotify: Option<(EventStream<[u8; 4096]>, Watches)>,
    watched: HashSet<WatchDescriptor>,
    /// The names of the files, and of what they link to.
    names: HashSet<OsString>,
    /// Those of them that have been written to and not closed.
    open: HashSet<OsString>,
    overflowed: bool,
    seen: Stamps,
}

/// By what a file is known again: device, inode, size, and the times of its last change in seconds
/// and nanoseconds.
type Stamp = (u64, u64, u64, [i64; 4]);

/// Those of `proxydhcp.cfg` and of the others, where they are there.
type Stamps = [Option<Stamp>; 3];

impl Watch {
    /// Begins to watch these files: what changes from now on is noticed.
    fn new(files: [PathBuf; 3], tell: Sender<Told>) -> Self {
        let mut watch = Self {
            files,
            tell,
            pause: RETRY[0],
            inotify: None,
            watched: HashSet::new(),
            names: HashSet::new(),
            open: HashSet::new(),
            overflowed: false,
            seen: [None; 3],
        };
        watch.arm();
        watch.seen = watch.stamps();
        watch
    }

    /// Waits until a file is another than at the last call, and at rest.
    async fn changed(&mut self) {
        loop {
            if self.stamps() == self.seen {
                let patience = self.is_in_trouble().then_some(self.pause);
                self.event(patience).await;
            }
            let stamps = self.rest().await;
            let [first, most] = RETRY;
            self.pause = if self.is_in_trouble() {
                most.min(self.pause * 2)
            } else {
                first
            };
            if stamps != self.seen || self.overflowed {
                self.overflowed = false;
                self.seen = stamps;
                return;
            }
        }
    }

    /// Waits for an event, for so long at most, and takes note of it. Whether there was one.
    async fn event(&mut self, patience: Option<Duration>) -> bool {
        let Some((events, _)) = &mut self.inotify else {
            sleep(patience.unwrap_or(RETRY[0])).await;
            return false;
        };
        let next = match patience {
            Some(patience) => timeout(patience, events.next()).await,
            None => Ok(events.next().await),
        };
        match next {
            Ok(Some(Ok(event))) => self.note(&event),
            // Another one is made with the next look at the folders.
            Ok(Some(Err(_)) | None) => self.forget(),
            Err(_) => return false,
        }
        true
    }

    /// Waits until the files are at rest.
    async fn rest(&mut self) -> Stamps {
        let started = Instant::now();
        let (mut stamps, mut since) = (self.stamps(), started);
        loop {
            let next = Instant::now() + QUIET / 2;
            while let Some(left) = next.checked_duration_since(Instant::now())
                && self.event(Some(left)).await
            {}
            self.arm();
            let now = self.stamps();
            if now != stamps {
                (stamps, since) = (now, Instant::now());
            }
            let wait = if !self.open.is_empty() {
                OPEN
            } else if self.is_half(&stamps) {
                HALF
            } else {
                QUIET
            };
            if since.elapsed() >= wait || started.elapsed() >= PATIENCE {
                self.open.clear();
                return stamps;
            }
        }
    }

    /// Whether a file is as it is in the middle of being written anew.
    fn is_half(&self, stamps: &Stamps) -> bool {
        let is_gone =
            |(now, seen): (&Option<Stamp>, &Option<Stamp>)| now.is_none() && seen.is_some();
        let is_cut = |(_, _, size, _): Stamp| size % RECORD as u64 != 0;
        let [config, ..] = stamps;
        config.is_some_and(is_cut) || stamps.iter().zip(&self.seen).any(is_gone)
    }

    fn note(&mut self, event: &EventOwned) {
        self.overflowed |= event.mask.contains(EventMask::Q_OVERFLOW);
        let Some(name) = event
            .name
            .as_ref()
            .filter(|name| self.names.contains(*name))
        else {
            return;
        };
        if event.mask.contains(EventMask::MODIFY) {
            self.open.insert(name.clone());
        } else if !event.mask.contains(EventMask::ATTRIB) {
            // Closed, or another file.
            self.open.remove(name);
        }
    }

    /// Watches the folders that the files are in by now, and no others.
    fn arm(&mut self) {
        let trouble = self.try_to_arm().err().map(|error| {
            let [_, late] = RETRY;
            format!("changed files are noticed up to {late:?} late: {error:#}")
        });
        if self.tell.borrow().trouble == trouble {
            return;
        }
        if let Some(trouble) = &trouble {
            error!("{trouble}");
        } else {
            info!("changed files are noticed at once again");
        }
        self.tell.send_modify(|told| told.trouble = trouble);
    }

    fn is_in_trouble(&self) -> bool {
        self.tell.borrow().trouble.is_some()
    }

    /// Where one folder cannot be watched, the others are.
    fn try_to_arm(&mut self) -> Result<()> {
        if self.inotify.is_none() {
            self.inotify = Some(inotify()?);
        }
        // In a fixed order, for one trouble is told.
        let mut folders = BTreeSet::new();
        let mut watched = HashSet::new();
        let mut trouble = Ok(());
        // A folder may appear after it was looked for, and before its parent is watched.
        for _ in 0..LINKS {
            let places: Vec<_> = self.files.iter().flat_map(|file| links(file)).collect();
            let now = places.iter().map(|path| folder(path).to_owned()).collect();
            self.names = places
                .iter()
                .filter_map(|path| path.file_name().map(OsStr::to_owned))
                .collect();
            if now == folders {
                break;
            }
            folders = now;
            watched.clear();
            trouble = Ok(());
            let Some((_, watches)) = &mut self.inotify else {
                break;
            };
            for folder in &folders {
                match add(watches, folder) {
                    Ok(watch) => watched.extend(watch),
                    Err(error) => trouble = Err(error),
                }
            }
        }
        // A watch from before may tell of a folder that cannot be watched anew when it can.
        if trouble.is_ok() {
            for old in self.watched.difference(&watched) {
                // It is gone already where its folder is.
                if let Some((_, watches)) = &mut self.inotify {
                    let _ = watches.remove(old.clone());
                }
            }
            self.watched = watched;
        } else {
            self.watched.extend(watched);
        }
        trouble
    }

    /// Lets go of the kernel's watches.
    fn forget(&mut self) {
        self.inotify = None;
        self.watched.clear();
    }

    fn stamps(&self) -> Stamps {
        self.files.each_ref().map(|path| {
            let file = fs::metadata(path).ok()?;
            let times = [
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec(),
            ];
            Some((file.dev(), file.ino(), file.size(), times))
        })
    }
}

fn inotify() -> Result<(EventStream<[u8; 4096]>, Watches)> {
    let inotify = Inotify::init().context(
        "cannot watch the files; are there too many watchers (fs.inotify.max_user_instances)?",
    )?;
    let watches = inotify.watches();
    Ok((inotify.into_event_stream([0; 4096])?, watches))
}

/// Watches a folder, which may just have gone.
fn add(watches: &mut Watches, folder: &Path) -> Result<Option<WatchDescriptor>> {
    const CHANGES: WatchMask = WatchMask::MODIFY
        .union(WatchMask::CLOSE_WRITE)
        .union(WatchMask::ATTRIB)
        .union(WatchMask::CREATE)
        .union(WatchMask::DELETE)
        .union(WatchMask::MOVE)
        .union(WatchMask::DELETE_SELF)
        .union(WatchMask::MOVE_SELF)
        .union(WatchMask::ONLYDIR);
    match watches.add(folder, CHANGES) {
        Ok(watch) => Ok(Some(watch)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot watch {}; check its permissions and fs.inotify.max_user_watches",
                folder.display()
            )
        }),
    }
}

/// The path, and all that it links to in turn.
fn links(path: &Path) -> Vec<PathBuf> {
    let mut places = vec![path.to_owned()];
    while let Some(last) = places.last()
        && places.len() <= LINKS
        && let Ok(target) = fs::read_link(last)
    {
        let folder = last.parent().unwrap_or(last);
        places.push(folder.join(target));
    }
    places
}

/// The folder of a path, or the nearest above it that is there.
fn folder(path: &Path) -> &Path {
    let above = path.ancestors().skip(1);
    above
        .into_iter()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests;
