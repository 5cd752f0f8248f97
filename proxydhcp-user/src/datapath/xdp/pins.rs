//! What survives a daemon that is killed: its program, the program's maps, and a link for each
//! interface, pinned in a BPF file system.
//!
//! ```text
//! /sys/fs/bpf/proxydhcp/      root's alone
//!   8/                        the layout of the adopted maps ([`LAYOUT`])
//!     4026531840/             a network namespace, by its inode; locked by the daemon running there
//!       COUNTERS, LIMITS, DEADLINE, ACTIVITY
//!                             adopted by its successor
//!       program, NODES, TEMPLATES
//!                             for bpftool
//!       4/                    an interface, by the kernel's number for it
//!         link                holds the program on the interface; its modification time is when
//!                             the tables were put into service
//!         without-nodes/      it answers no node: removing it loses nothing
//!         dropped-before/4-704/
//!                             what the driver of number 4 had dropped when the counters began
//! ```
//!
//! As long as `link` exists, the kernel answers. A daemon that starts puts its own program on the
//! links it finds, in one step with its tables, and removes those that it does not take over. It
//! leaves the links of other network namespaces to their daemons.
//!
//! Up to layout 2, each interface had a program and maps of its own in its folder, and there were no
//! folders of namespaces.
//!
//! Nothing is pinned, read or removed in a folder that anybody but root and this user may change.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::Errno;
use tokio::time::sleep;
use tracing::debug;

use crate::datapath::xdp::deadline::{self, Deadline};
use crate::sys::interface::Interface;
use crate::sys::trusted::{FolderError, TrustedFolder};

mod leftover;
mod link;
mod scan;

pub use leftover::Leftover;

/// Where BPF objects are pinned.
const BPF_FS: &str = "/sys/fs/bpf";

/// The folder in it that is this program's.
const FOLDER: &str = "proxydhcp";

/// How long to wait for a daemon that has just ended, because the kernel closes its files one by
/// one.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// The version of the layout of the maps that a successor adopts ([`ADOPTED`]). Raise it whenever
/// the size or the meaning of one of them changes.
pub const LAYOUT: u32 = 8;

/// The last layout without folders of network namespaces.
const LAST_FLAT: u32 = 2;

/// The maps that a successor adopts, so that counters and the nodes' activity keep their values, rate
/// limits stay in force, and a program that is still attached goes on answering.
pub const ADOPTED: [&str; 4] = ["COUNTERS", "LIMITS", deadline::MAP, ACTIVITY];

/// The map with what the nodes have done.
pub(crate) const ACTIVITY: &str = "ACTIVITY";

/// The other maps that are pinned, for inspection.
pub(super) const SHOWN: [&str; 2] = ["NODES", "TEMPLATES"];
pub(super) const PROGRAM: &str = "program";

/// The file that holds the program on the interface.
pub const LINK: &str = "link";

/// The folder whose presence says that no node is answered.
pub const WITHOUT_NODES: &str = "without-nodes";

/// The folder that records what drivers had dropped before the program began to count.
pub const DROPPED_BEFORE: &str = "dropped-before";

/// The folder of pins of this network namespace, locked by this process.
pub struct Pins {
    /// Locked together with the daemons of other namespaces. Up to layout 2, a daemon locked it alone.
    root: TrustedFolder,
    folder: TrustedFolder,
    namespace: String,
}

/// Why nothing can be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// No BPF file system is mounted, as in many containers, or where systemd is not running.
    #[error(
        "{BPF_FS} is no BPF file system; `mount -t bpf -o mode=0700 bpf {BPF_FS}` makes it one"
    )]
    NoBpfFs,
    /// A daemon is running in this network namespace.
    #[error(
        "another proxyDHCP daemon is running in this network namespace: it holds \
         {BPF_FS}/{FOLDER}; stop it first"
    )]
    Twin,
    /// A daemon of an older version is running in some namespace; or another user, who may open the
    /// folder, has locked it.
    #[error("another running program holds {BPF_FS}/{FOLDER}")]
    Held,
    /// Others may change the folder.
    #[error("what is in {BPF_FS} is not trusted: {0}")]
    Folder(#[from] FolderError),
    /// The folder cannot be created, locked or read.
    #[error("{BPF_FS}/{FOLDER}: {0}")]
    Io(#[from] io::Error),
}

impl Pins {
    /// Takes the folder of pins, and creates it if it is missing. Waits for a daemon that is just
    /// ending.
    ///
    /// # Errors
    ///
    /// If there is no BPF file system, another daemon holds the folder, others may change it, or it
    /// cannot be created, locked or read: see [`PinsError`].
    pub async fn take() -> Result<Self, PinsError> {
        const BPF_FS_MAGIC: u32 = 0xcafe_4a11;
        let file_system = statfs(BPF_FS);
        if !matches!(file_system, Ok(found) if i64::from(BPF_FS_MAGIC) == found.f_type) {
            return Err(PinsError::NoBpfFs);
        }
        let all = TrustedFolder::open_shared(Path::new(BPF_FS))?;
        let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino().to_string();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let root = all.make_child(FOLDER)?;
            // Any user who may open the folder may lock it, for any time.
            let is_worth_it = root.is_private() && Instant::now() < deadline;
            match Self::try_to_take(&root, &namespace) {
                Err(PinsError::Held | PinsError::Twin) if is_worth_it => sleep(PAUSE).await,
                // The previous daemon has removed it just now.
                Err(PinsError::Folder(error)) if is_worth_it && error.is_missing() => {}
                taken => return taken,
            }
        }
    }

    fn try_to_take(root: &TrustedFolder, namespace: &str) -> Result<Self, PinsError> {
        lock(root, FlockOperation::NonBlockingLockShared)?;
        let folder = root
            .make_child(&LAYOUT.to_string())?
            .make_child(namespace)?;
        let locked = lock(&folder, FlockOperation::NonBlockingLockExclusive);
        locked.map_err(|error| match error {
            // Only root gets here.
            PinsError::Held if root.is_private() => PinsError::Twin,
            error => error,
        })?;
        let pins = Self {
            root: root.again()?,
            folder,
            namespace: namespace.to_owned(),
        };
        // It may have been removed before it was locked.
        let now = fs::metadata(pins.folder.path());
        if now.is_ok_and(|now| now.ino() == pins.folder.inode()) {
            Ok(pins)
        } else {
            Err(PinsError::Held)
        }
    }

    /// The folder of the program and its maps.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder for an interface, by the kernel's number for it.
    pub fn of(&self, index: u32) -> PathBuf {
        self.folder().join(index.to_string())
    }

    /// What killed daemons have left, in this network namespace or in one that no longer exists. The
    /// pins of the interfaces with the numbers `own` belong to this daemon.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn leftovers(&self, own: &[u32]) -> io::Result<Vec<Leftover>> {
        scan::leftovers(self, own)
    }

    /// The deadlines of the programs that killed daemons have left in this network namespace.
    pub fn deadlines(&self) -> Vec<Deadline> {
        let pinned = scan::deadlines(&self.root, Some(&self.namespace));
        let open = |path: &PathBuf| {
            let opened = Deadline::pinned(path);
            opened.inspect_err(|error| debug!("{}: {error:#}", path.display()))
        };
        pinned.iter().filter_map(|path| open(path).ok()).collect()
    }
}

/// Removes what is pinned of a program that no interface has any more.
fn forget_program(namespace: &TrustedFolder) {
    let names = namespace.names().unwrap_or_default();
    if !names.iter().any(|name| is_number(name)) {
        forget_maps(namespace);
    }
}

/// Whether it is the name of a folder of this program's.
fn is_number(name: &str) -> bool {
    name.parse::<u64>().is_ok()
}

/// Removes what is pinned of a program and its maps; no more than that.
fn forget_maps(folder: &TrustedFolder) {
    for name in ADOPTED.iter().chain(&SHOWN).chain(&[PROGRAM]) {
        if let Err(error) = folder.unlink(name) {
            debug!("{}: {name}: {error}", folder.path().display());
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        forget_program(&self.folder);
        // What is not empty stays.
        let layout = LAYOUT.to_string();
        if let Ok(layout) = self.root.child(&layout) {
            let _ = layout.remove_child(&self.namespace);
        }
        let _ = self.root.remove_child(&layout);
        if let Ok(all) = TrustedFolder::open_shared(Path::new(BPF_FS)) {
            let _ = all.remove_child(FOLDER);
        }
    }
}

fn lock(folder: &TrustedFolder, operation: FlockOperation) -> Result<(), PinsError> {
    match flock(folder, operation) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(PinsError::Held),
        Err(error) => Err(io::Error::from(error).into()),
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
        if !leftover.is_removable(all) {
            continue;
        }
        tell(&leftover.remove(all)?);
    }
    Ok(())
}

/// How long ago the tables that the kernel answers from were put into service, whether a daemon runs
/// or not. `None` if nothing is pinned, as far as this user may see.
pub fn age() -> Option<Duration> {
    let all = TrustedFolder::open_shared(Path::new(BPF_FS)).ok()?;
    scan::links(&all.child(FOLDER).ok()?)
        .iter()
        .filter_map(|link| age_of(link))
        .min()
}

/// How long what killed daemons have left goes on answering: zero if it does so no longer, and
/// `None` if it does so for ever, as far as this user may see.
pub fn time_left() -> Option<Duration> {
    let all = TrustedFolder::open_shared(Path::new(BPF_FS)).ok()?;
    let pinned = scan::deadlines(&all.child(FOLDER).ok()?, None);
    let deadlines = pinned.iter().filter_map(|path| Deadline::pinned(path).ok());
    let times: Option<Vec<_>> = deadlines.map(|deadline| deadline.left()).collect();
    times?.into_iter().max()
}

/// How long ago the tables of the program on this link were put into service.
fn age_of(link: &Path) -> Option<Duration> {
    let changed = fs::symlink_metadata(link).ok()?.modified().ok()?;
    Some(changed.elapsed().unwrap_or_default())
}

/// Creates a folder for this user alone, and those above it.
///
/// # Errors
///
/// If the folder cannot be made: there is no BPF file system, or no right to write there.
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
        && let Err(error) = link::PinnedXdp::open(&link).and_then(|link| link.detach())
    {
        // Unlinking detaches it as well, some time later, and takes no capability.
        debug!("{}: {error}", link.display());
    }
    forget(folder)
}

/// Removes an interface's pins. The kernel frees objects that nothing else holds some time later.
/// Files that this program does not pin stay.
///
/// # Errors
///
/// If the folder cannot be removed.
pub fn forget(folder: &Path) -> io::Result<()> {
    let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Ok(());
    };
    let open = |path: &Path| match TrustedFolder::open(path) {
        Err(error) if error.is_missing() => Ok(None),
        opened => opened.map(Some).map_err(io::Error::other),
    };
    let (Some(above), Some(name)) = (open(above)?, name.to_str()) else {
        return Ok(());
    };
    let Some(folder) = open(folder)? else {
        return Ok(());
    };
    folder.unlink(LINK)?;
    folder.remove_child(WITHOUT_NODES)?;
    if let Ok(notes) = folder.child(DROPPED_BEFORE) {
        for note in notes.names()? {
            let _ = notes.remove_child(&note);
        }
        folder.remove_child(DROPPED_BEFORE)?;
    }
    // Up to layout 2.
    forget_maps(&folder);
    // This fails while somebody else has pinned something there.
    let _ = above.remove_child(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proxydhcp_common::activity::{Record, STRANGERS};
    use proxydhcp_common::counters::{COUNTERS, Counted, refused};
    use proxydhcp_common::limit::{Line, TABLE};
    use proxydhcp_common::verdict::Reason;

    use super::*;

    /// A successor with another layout would count under the wrong names.
    #[test]
    fn whoever_changes_what_is_taken_over_raises_the_layout() {
        let reasons: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| format!("{}={}", reason.name(), refused(*reason)))
            .collect();
        let activity = (size_of::<Record>(), STRANGERS);
        let counted = (COUNTERS, size_of::<Counted>());
        let layout = (counted, reasons.join(" "), TABLE, size_of::<Line>());
        let known = "broadcast=6 fragment=7 length=8 checksum=9 source-address=10 source-port=11 \
                     short=12 op=13 cookie=14 hardware-address=15 relayed=16 client-address=17 \
                     options=18 message-type=19 vendor-class=20 architecture=21 unknown-client=22 \
                     identity=23";
        assert_eq!(
            (LAYOUT, layout),
            (8, ((24, 232), known.to_owned(), 8193, 64))
        );
        assert_eq!(activity, (32, 131_072));
    }
}
