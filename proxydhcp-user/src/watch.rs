//! Notices that the files have changed, once their writer is done.
//!
//! inotify watches the folders, not the files, so that a file may be written in place, renamed into
//! place, removed, or not be there yet. Where a file is a symbolic link, the folders of all that it
//! leads over are watched. An event is a hint alone: what counts is whether a file is another one, or
//! of another size or time, than when it was last looked at. So no event is too many or too few, and
//! those that the kernel drops are made up for.
//!
//! What inotify does not see, this does not: changes that another host makes on a network file
//! system, and a folder on the way that is a symbolic link and is made to lead elsewhere.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::time::timeout_at;

use crate::cfg::{RECORD, disabled};
use crate::table::Sources;

/// Files at rest for so long are taken for written.
const QUIET: Duration = Duration::from_millis(50);

/// A file that is missing, or cut within a record, is waited for as long as it grows, and so much
/// longer.
const HALF: Duration = Duration::from_secs(2);

/// A file that its writer holds open is waited for as long as it changes, and so much longer.
const OPEN: Duration = Duration::from_secs(10);

/// Whatever goes on, the files are read after this time.
const PATIENCE: Duration = Duration::from_mins(1);

/// The links that one file may lead over, as in the kernel (`path_resolution(7)`).
const LINKS: usize = 40;

/// The watch over the files.
pub(crate) struct Watch {
    events: EventStream<[u8; 4096]>,
    watches: Watches,
    config: PathBuf,
    /// The others: the hosts file, and that of disabled nodes.
    others: [PathBuf; 2],
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
    /// Begins to watch: what changes from now on is noticed.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn new(sources: &Sources) -> Result<Self> {
        let inotify = Inotify::init().context(
            "cannot watch the files; are there too many watchers (fs.inotify.max_user_instances)?",
        )?;
        let watches = inotify.watches();
        let mut watch = Self {
            events: inotify.into_event_stream([0; 4096])?,
            watches,
            config: absolute(&sources.config)?,
            others: [
                absolute(&sources.hosts)?,
                absolute(disabled::path(&sources.config))?,
            ],
            watched: HashSet::new(),
            names: HashSet::new(),
            open: HashSet::new(),
            overflowed: false,
            seen: [None; 3],
        };
        watch.arm()?;
        watch.seen = watch.stamps();
        Ok(watch)
    }

    /// Waits until a file is another than at the last call, and at rest.
    ///
    /// # Errors
    ///
    /// The system's; then nothing is watched any more.
    pub(crate) async fn changed(&mut self) -> Result<()> {
        loop {
            if self.stamps() == self.seen {
                match self.events.next().await {
                    Some(event) => self.note(&event?),
                    None => bail!("inotify has ended"),
                }
            }
            let stamps = self.rest().await?;
            if stamps != self.seen || self.overflowed {
                self.overflowed = false;
                self.seen = stamps;
                return Ok(());
            }
        }
    }

    /// Waits until the files are at rest.
    async fn rest(&mut self) -> Result<Stamps> {
        let started = Instant::now();
        let (mut stamps, mut since) = (self.stamps(), started);
        loop {
            let next = tokio::time::Instant::now() + QUIET / 2;
            while let Ok(Some(event)) = timeout_at(next, self.events.next()).await {
                self.note(&event?);
            }
            self.arm()?;
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
                return Ok(stamps);
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
    fn arm(&mut self) -> Result<()> {
        let mut folders = HashSet::new();
        let mut watched = HashSet::new();
        // A folder may appear after it was looked for, and before its parent is watched.
        for _ in 0..LINKS {
            let places: Vec<_> = self.files().into_iter().flat_map(links).collect();
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
            for folder in &folders {
                watched.extend(add(&mut self.watches, folder)?);
            }
        }
        for old in self.watched.difference(&watched) {
            // It is gone already where its folder is.
            let _ = self.watches.remove(old.clone());
        }
        self.watched = watched;
        Ok(())
    }

    fn files(&self) -> [&Path; 3] {
        let [hosts, disabled] = &self.others;
        [&self.config, hosts, disabled]
    }

    fn stamps(&self) -> Stamps {
        self.files().map(|path| {
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
