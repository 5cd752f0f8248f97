//! The file that tells other programs the daemon's process id.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a predecessor that no longer has the port may take to end.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// The file, with this process's id in decimal and nothing else. Dropping it removes it.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file, and its folder where that is missing. It takes the place of an older one in
    /// one step, so that whoever reads it finds a whole id at any time: of an empty file, a
    /// program that is to signal the process makes id 0, and signals its own process group.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn write(path: &Path) -> Result<Self> {
        let next = path.with_extension("pid.new");
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&next, process::id().to_string())?;
            fs::rename(&next, path)
        };
        write().with_context(|| format!("cannot write the pid file {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A successor may have written its own.
        if read(&self.0) == Pid::from_raw(process::id().cast_signed()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Waits a little for the end of the process that the file names, if that is a daemon like this
/// one: when it was killed, the kernel frees what it had piece by piece, the interfaces' XDP hooks
/// some milliseconds after the port.
pub(crate) fn await_predecessor(path: &Path) {
    let name_of = |process: &str| fs::read(format!("/proc/{process}/comm")).ok();
    let Some(pid) = read(path) else { return };
    if pid == rustix::process::getpid()
        || name_of(&pid.as_raw_nonzero().to_string()) != name_of("self")
    {
        return;
    }
    // It may have ended by now.
    if let Ok(predecessor) = pidfd_open(pid, PidfdFlags::empty()) {
        // Whether it has ended is seen by what it still holds.
        let _ = poll(
            &mut [PollFd::new(&predecessor, PollFlags::IN)],
            Some(&PATIENCE),
        );
    }
}

fn read(path: &Path) -> Option<Pid> {
    Pid::from_raw(fs::read_to_string(path).ok()?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_whole_and_removed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("xcat/daemon.pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            process::id().to_string()
        );
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing beside it"
        );
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn stale_files_are_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.pid");
        for stale in ["", "1", "99999999999999999999", "-1", "0", "no number"] {
            fs::write(&path, stale).unwrap();
            fs::write(path.with_extension("pid.new"), stale).unwrap();
            await_predecessor(&path);
            let _file = PidFile::write(&path).unwrap();
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                process::id().to_string()
            );
        }
    }

    #[test]
    fn a_successors_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.pid");
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
    }
}
