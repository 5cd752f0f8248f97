//! The file with the daemon's process id, for other programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};

use crate::sys::replace::{self, Lasting};
use crate::sys::trusted::TrustedFolder;

/// The file, with this process's id in decimal and nothing else. Dropping it removes it.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file, and creates its folder if it is missing. An older file is replaced in one
    /// step, so that a reader finds a whole id at any time: a program that reads an empty file
    /// takes the id for 0, and signals its own process group.
    ///
    /// # Errors
    ///
    /// If the folder cannot be created or the file cannot be written.
    pub(super) fn write(path: &Path) -> Result<Self> {
        let write = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
                TrustedFolder::follow(folder)?;
            }
            anyhow::Ok(replace::write(
                path,
                process::id().to_string().as_bytes(),
                Lasting::No,
            )?)
        };
        write().with_context(|| format!("cannot write the pid file {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A successor may have written its own id.
        if fs::read_to_string(&self.0).is_ok_and(|id| id == process::id().to_string()) {
            let _ = fs::remove_file(&self.0);
        }
    }
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
