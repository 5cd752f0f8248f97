//! What outlives a daemon that is killed: programs, links and maps, pinned in a BPF file system.
//!
//! ```text
//! /sys/fs/bpf/proxydhcp/      locked by the daemon that runs
//!   2/                        the layout of the maps that are taken over ([`LAYOUT`])
//!     4/                      an interface, by the kernel's number for it
//!       link                  holds the program on the interface
//!       program, NODES, TEMPLATES, COUNTERS, LIMITS: for its successor, and for bpftool
//!       without-nodes/        where it answers no node: nothing is lost with it
//!       dropped-before/4-704/ what the driver of number 4 had dropped when the counters began
//! ```
//!
//! As long as `link` is there, the kernel answers. A daemon that starts puts its own program on the
//! links it finds, in one step with its tables; what it does not take over, it removes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;
use tokio::time::sleep;
use tracing::debug;

use crate::sys::interface::Interface;

mod detach;
mod leftover;

pub use leftover::Leftover;

/// Where programs are pinned.
const FOLDER: &str = "/sys/fs/bpf/proxydhcp";

/// How long to wait for a daemon that has just ended: the kernel closes its files one by one.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// The number of a layout of the maps that a successor goes on with ([`ADOPTED`]). It is to be
/// raised whenever one of them changes in size or in meaning.
pub const LAYOUT: u32 = 2;

/// The maps that a successor goes on with: what has been counted stays counted, and who has asked too
/// often stays limited.
pub const ADOPTED: [&str; 2] = ["COUNTERS", "LIMITS"];

/// The file by which an interface is held.
pub const LINK: &str = "link";

/// The folder that says that no node is answered.
pub const WITHOUT_NODES: &str = "without-nodes";

/// The folder that says what drivers had dropped before the program began to count.
pub const DROPPED_BEFORE: &str = "dropped-before";

/// The folder of pins, held by this process alone.
pub struct Pins {
    folder: PathBuf,
    _locked: File,
}

/// Why nothing can be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// Most likely in a container, or where no systemd has mounted it.
    #[error("/sys/fs/bpf is no BPF file system; `mount -t bpf bpf /sys/fs/bpf` makes it one")]
    NoBpfFs,
    /// A daemon runs, in this network namespace or in another.
    #[error("another daemon that runs holds {FOLDER}")]
    Held,
    /// The folder cannot be made, locked or read.
    #[error("{FOLDER}: {0}")]
    Io(#[from] io::Error),
}

impl Pins {
    /// Takes the folder of pins, and makes it where it is missing. A daemon that ends just now is
    /// waited for.
    ///
    /// # Errors
    ///
    /// See [`PinsError`].
    pub async fn take() -> Result<Self, PinsError> {
        const BPF_FS_MAGIC: u32 = 0xcafe_4a11;
        let folder = PathBuf::from(FOLDER);
        let file_system = folder.parent().map(statfs);
        if !matches!(file_system, Some(Ok(found)) if i64::from(BPF_FS_MAGIC) == found.f_type) {
            return Err(PinsError::NoBpfFs);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            make_folder(&folder)?;
            let locked = File::open(&folder)?;
            match flock(&locked, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(PAUSE).await,
                Err(Errno::WOULDBLOCK) => return Err(PinsError::Held),
                Err(error) => return Err(io::Error::from(error).into()),
                // The one before may have removed it just now.
                Ok(()) if folder.exists() => {
                    return Ok(Self {
                        folder,
                        _locked: locked,
                    });
                }
                Ok(()) => {}
            }
        }
    }

    /// The folder for an interface, by the kernel's number for it.
    pub fn of(&self, index: u32) -> PathBuf {
        self.folder.join(LAYOUT.to_string()).join(index.to_string())
    }

    /// What daemons that were killed have left; the programs with these numbers are this one's.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn leftovers(&self, own: &[u32]) -> io::Result<Vec<Leftover>> {
        let mut found: Vec<Leftover> = Vec::new();
        for layout in folders_in(&self.folder)? {
            for interface in folders_in(&layout)? {
                let leftover = Leftover::open(interface);
                if leftover.program().is_some_and(|it| own.contains(&it)) {
                    continue;
                }
                // A daemon that was killed in the midst of moving a link has left it twice.
                if found.iter().any(|other| other.is_of_the_link_of(&leftover)) {
                    forget(leftover.folder())?;
                } else {
                    found.push(leftover);
                }
            }
        }
        Ok(found)
    }
}

/// The folders in a folder. What else there is was not put there by this program, and is left alone.
fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())));
    paths.map(|mut paths: Vec<PathBuf>| {
        paths.retain(|path| path.is_dir());
        paths
    })
}

impl Drop for Pins {
    fn drop(&mut self) {
        // It stays where something is pinned.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Removes all that daemons that were killed have left, and tells of each.
///
/// # Errors
///
/// See [`PinsError`]; but where nothing can be pinned, nothing is left.
pub async fn clear(all: &[Interface], mut tell: impl FnMut(&str)) -> Result<(), PinsError> {
    let pins = match Pins::take().await {
        Err(PinsError::NoBpfFs) => return Ok(()),
        taken => taken?,
    };
    for leftover in pins.leftovers(&[])? {
        tell(&leftover.remove(all)?);
    }
    Ok(())
}

/// Whether something is pinned, as far as this user may see it: the kernel answers, be there a daemon
/// or not.
pub fn are_there() -> bool {
    let layouts = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut interfaces = layouts
        .filter_map(|layout| fs::read_dir(layout.path()).ok())
        .flatten();
    interfaces.any(|interface| interface.is_ok_and(|it| it.path().join(LINK).exists()))
}

/// Makes a folder for root alone, and those above it.
///
/// # Errors
///
/// The folder cannot be made: there is no BPF file system, or no right to write there.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Takes what is pinned for an interface off it, at once, and out of the kernel.
///
/// # Errors
///
/// The folder cannot be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    let link = folder.join(LINK);
    if link.exists()
        && let Err(error) = detach::detach(&link)
    {
        // To unlink it does so too, some time later, and takes no rights.
        debug!("{}: {error}", link.display());
    }
    forget(folder)
}

/// Removes an interface's pins. What nobody else holds is gone from the kernel some time later.
///
/// # Errors
///
/// The folder cannot be removed.
pub fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(layout) = folder.parent() {
        // It stays where it has other interfaces.
        let _ = fs::remove_dir(layout);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proxydhcp_common::counters::{COUNTERS, refused};
    use proxydhcp_common::limit::{LINES, Line};
    use proxydhcp_common::verdict::Reason;

    use super::*;

    /// A successor with another layout would count under wrong names.
    #[test]
    fn whoever_changes_what_is_taken_over_raises_the_layout() {
        let reasons: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| format!("{}={}", reason.name(), refused(*reason)))
            .collect();
        let layout = (COUNTERS, reasons.join(" "), LINES, size_of::<Line>());
        let known = "fragment=5 length=6 checksum=7 source-address=8 source-port=9 short=10 op=11 \
                     cookie=12 hardware-address=13 relayed=14 client-address=15 options=16 \
                     message-type=17 vendor-class=18 architecture=19 unknown-client=20";
        assert_eq!((LAYOUT, layout), (2, (21, known.to_owned(), 1 << 13, 64)));
    }
}
