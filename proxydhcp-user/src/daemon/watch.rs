//! Notices that the files have changed, once their writer is done.
//!
//! inotify watches the folders, not the files, so that a file may be written in place, renamed into
//! place, removed, or not exist yet. If a file is a symbolic link, the folders of all links in the
//! chain are watched. An event is only a hint. What counts is whether a file differs in identity,
//! size or time from when it was last looked at, so surplus events do no harm, and events that the
//! kernel drops are made up for. If the kernel refuses to watch a folder, the files are polled
//! until it does.
//!
//! All of this runs on a thread of its own, because the files may be on a disk that hangs.
//!
//! inotify does not see changes that another host makes on a network file system, or a folder on
//! the way that is a symbolic link and is redirected. Neither does this.

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
use crate::text::with_causes;

mod thread;

use thread::Told;
pub(crate) use thread::{Watching, over, start};

/// Files that have not changed for this long count as written.
const QUIET: Duration = Duration::from_millis(50);

/// How long to wait, after its last change, for a file that is missing or ends within a record.
const HALF: Duration = Duration::from_secs(2);

/// How long to wait, after its last change, for a file that its writer holds open.
const OPEN: Duration = Duration::from_secs(10);

/// After this time the files are read, even if they go on changing.
const PATIENCE: Duration = Duration::from_secs(15);

/// The first and the longest pause before a folder that could not be watched is tried again.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// The length of a chain of links, limited as in the kernel (`path_resolution(7)`).
const LINKS: usize = 40;

/// The watch over the files.
struct Watch {
    /// `proxydhcp.cfg`, whose size says whether it is whole.
    config: Option<PathBuf>,
    /// All files: `proxydhcp.cfg` with those beside it, the hosts file, and that of hardware addresses.
    files: Vec<PathBuf>,
    /// Receives the reports; the watch itself sets the trouble in them.
    tell: Sender<Told>,
    /// The next pause while there is trouble.
    pause: Duration,
    inotify: Option<(EventStream<[u8; 4096]>, Watches)>,
    watched: HashSet<WatchDescriptor>,
    /// The names of the files, and of what they link to.
    names: HashSet<OsString>,
    /// The names among them that have been written to and not closed.
    open: HashSet<OsString>,
    overflowed: bool,
    seen: Stamps,
}

/// Identifies a file's contents: device, inode, size, and the time of the last change in seconds
/// and nanoseconds.
type Stamp = (u64, u64, u64, [i64; 4]);

/// The stamps of the files, where they exist.
type Stamps = Vec<Option<Stamp>>;

impl Watch {
    /// Begins to watch these files: later changes are noticed.
    fn new(config: Option<PathBuf>, files: Vec<PathBuf>, tell: Sender<Told>) -> Self {
        let mut watch = Self {
            config,
            files,
            tell,
            pause: RETRY[0],
            inotify: None,
            watched: HashSet::new(),
            names: HashSet::new(),
            open: HashSet::new(),
            overflowed: false,
            seen: Vec::new(),
        };
        watch.arm();
        watch.seen = watch.stamps();
        watch
    }

    /// Waits until a file differs from the last call, and has come to rest.
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

    /// Waits at most this long for an event, and records it. Returns whether there was one.
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
            // A new one is made with the next look at the folders.
            Ok(Some(Err(_)) | None) => self.forget(),
            Err(_) => return false,
        }
        true
    }

    /// Waits until the files no longer change.
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

    /// Whether a file looks as if it were being rewritten.
    fn is_half(&self, stamps: &Stamps) -> bool {
        let is_gone =
            |(now, seen): (&Option<Stamp>, &Option<Stamp>)| now.is_none() && seen.is_some();
        let is_cut = |(_, _, size, _): Stamp| size % RECORD as u64 != 0;
        let is_config = |file: &PathBuf| Some(file) == self.config.as_ref();
        let at = self.files.iter().position(is_config);
        let config = at.and_then(|at| stamps.get(at).copied().flatten());
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
            // The file was closed or replaced.
            self.open.remove(name);
        }
    }

    /// Watches the folders that the files are in now, and no others.
    fn arm(&mut self) {
        let trouble = self.try_to_arm().err().map(|error| {
            let [_, late] = RETRY;
            format!(
                "changed files are noticed up to {late:?} late: {}",
                with_causes(&error)
            )
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

    /// Watches the folders; if one fails, the others are still watched.
    fn try_to_arm(&mut self) -> Result<()> {
        if self.inotify.is_none() {
            self.inotify = Some(inotify()?);
        }
        // The order is fixed, because only one failure is reported.
        let mut folders = BTreeSet::new();
        let mut watched = HashSet::new();
        let mut trouble = Ok(());
        // A folder may appear after the look for it, and before its parent is watched.
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
        // An old watch may still report a folder that could not be watched anew, so keep it in that
        // case.
        if trouble.is_ok() {
            for old in self.watched.difference(&watched) {
                // The kernel has removed the watch already if the folder is gone.
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

    /// Releases the kernel's watches.
    fn forget(&mut self) {
        self.inotify = None;
        self.watched.clear();
    }

    fn stamps(&self) -> Stamps {
        let stamp = |path: &PathBuf| {
            let file = fs::metadata(path).ok()?;
            let times = [
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec(),
            ];
            Some((file.dev(), file.ino(), file.size(), times))
        };
        self.files.iter().map(stamp).collect()
    }
}

fn inotify() -> Result<(EventStream<[u8; 4096]>, Watches)> {
    let inotify = Inotify::init().context(
        "cannot watch the files; are there too many watchers (fs.inotify.max_user_instances)?",
    )?;
    let watches = inotify.watches();
    Ok((inotify.into_event_stream([0; 4096])?, watches))
}

/// Watches a folder; `None` if it has just vanished.
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

/// The path, followed by each path it links to in turn.
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

/// The folder of a path, or the nearest existing one above it.
fn folder(path: &Path) -> &Path {
    let above = path.ancestors().skip(1);
    above
        .into_iter()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests;
