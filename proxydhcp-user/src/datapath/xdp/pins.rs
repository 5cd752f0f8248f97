//! What survives a daemon that is killed: programs, links and maps, pinned in a BPF file system.
//!
//! ```text
//! /sys/fs/bpf/proxydhcp/      locked by the running daemon
//!   2/                        the layout of the adopted maps ([`LAYOUT`])
//!     4/                      an interface, by the kernel's number for it
//!       link                  holds the program on the interface
//!       program, NODES, TEMPLATES, COUNTERS, LIMITS: for its successor, and for bpftool
//!       without-nodes/        it answers no node: removing it loses nothing
//!       dropped-before/4-704/ what the driver of number 4 had dropped when the counters began
//! ```
//!
//! As long as `link` exists, the kernel answers. A daemon that starts puts its own program on the
//! links it finds, in one step with its tables, and removes those that it does not take over.

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

/// How long to wait for a daemon that has just ended, because the kernel closes its files one by
/// one.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// The version of the layout of the maps that a successor adopts ([`ADOPTED`]). Raise it whenever
/// the size or the meaning of one of them changes.
pub const LAYOUT: u32 = 2;

/// The maps that a successor adopts, so that counters keep their values and rate limits stay in
/// force.
pub const ADOPTED: [&str; 2] = ["COUNTERS", "LIMITS"];

/// The file that holds the program on the interface.
pub const LINK: &str = "link";

/// The folder whose presence says that no node is answered.
pub const WITHOUT_NODES: &str = "without-nodes";

/// The folder that records what drivers had dropped before the program began to count.
pub const DROPPED_BEFORE: &str = "dropped-before";

/// The folder of pins, locked by this process.
pub struct Pins {
    folder: PathBuf,
    _locked: File,
}

/// Why nothing can be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// No BPF file system is mounted, as in many containers, or where systemd is not running.
    #[error("/sys/fs/bpf is no BPF file system; `mount -t bpf bpf /sys/fs/bpf` makes it one")]
    NoBpfFs,
    /// A daemon is running, in this network namespace or in another.
    #[error("another running daemon holds {FOLDER}")]
    Held,
    /// The folder cannot be created, locked or read.
    #[error("{FOLDER}: {0}")]
    Io(#[from] io::Error),
}

impl Pins {
    /// Takes the folder of pins, and creates it if it is missing. Waits for a daemon that is just
    /// ending.
    ///
    /// # Errors
    ///
    /// If there is no BPF file system, another daemon holds the folder, or it cannot be created,
    /// locked or read: see [`PinsError`].
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
                // The previous daemon may have removed it just now.
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

    /// What killed daemons have left. The programs with the numbers `own` belong to this daemon.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn leftovers(&self, own: &[u32]) -> io::Result<Vec<Leftover>> {
        let mut found: Vec<Leftover> = Vec::new();
        for layout in folders_in(&self.folder)? {
            for interface in folders_in(&layout)? {
                let leftover = Leftover::open(interface);
                if leftover.program().is_some_and(|it| own.contains(&it)) {
                    continue;
                }
                // A daemon that was killed while it moved a link has left it twice.
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

/// The folders in a folder. Other files were not created by this program, and are ignored.
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
        // This fails while something is pinned there, and the folder stays.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Removes everything that killed daemons have left, and passes a line about each item to `tell`.
///
/// # Errors
///
/// If a daemon holds the folder, or it cannot be read: see [`PinsError`]. Where nothing can be
/// pinned, nothing is left, which is no error.
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

/// Whether something is pinned, as far as this user may see it: then the kernel answers, whether a
/// daemon runs or not.
pub fn are_there() -> bool {
    let layouts = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut interfaces = layouts
        .filter_map(|layout| fs::read_dir(layout.path()).ok())
        .flatten();
    interfaces.any(|interface| interface.is_ok_and(|it| it.path().join(LINK).exists()))
}

/// Creates a folder for root alone, and those above it.
///
/// # Errors
///
/// If the folder cannot be created, because there is no BPF file system or no permission to write
/// there.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Detaches what is pinned for an interface at once, and removes it from the kernel.
///
/// # Errors
///
/// If the folder cannot be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    let link = folder.join(LINK);
    if link.exists()
        && let Err(error) = detach::detach(&link)
    {
        // Unlinking detaches it as well, some time later, and takes no capability.
        debug!("{}: {error}", link.display());
    }
    forget(folder)
}

/// Removes an interface's pins. The kernel frees objects that nothing else holds some time later.
///
/// # Errors
///
/// If the folder cannot be removed.
pub fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(layout) = folder.parent() {
        // This fails while the folder contains other interfaces.
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

    /// A successor with another layout would count under the wrong names.
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
