//! Pinning the program, so that it outlives this process.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use aya::programs::links::FdLink;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
use tracing::warn;

use super::Program;
use crate::datapath::xdp::pins::{self, ADOPTED, LINK, PROGRAM, SHOWN, WITHOUT_NODES};
use crate::sys::trusted::removed;

/// The folder of an interface where its link outlives this process.
#[derive(Debug)]
pub(super) struct Pinned {
    folder: PathBuf,
    /// It has been in service, by this daemon or one before: only a clean stop ends it.
    stays: bool,
}

impl Pinned {
    /// Pins a link, and records whether nodes are answered.
    pub(super) fn pin(link: &mut Option<FdLink>, folder: PathBuf, has_nodes: bool) -> Result<Self> {
        pins::make_folder(&folder)?;
        let pinned = Self {
            folder,
            stays: false,
        };
        if let Some(fresh) = link.take() {
            *link = Some(fresh.pin(pinned.folder.join(LINK))?.into());
        }
        pinned.set_has_nodes(has_nodes);
        Ok(pinned)
    }

    /// The folder of a link that stays pinned where it is.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self {
            folder,
            stays: true,
        }
    }

    /// From now on, only a clean stop ends it.
    pub(super) fn stays(&mut self, stays: bool) {
        self.stays = stays;
    }

    /// Whether the link is there.
    pub(super) fn is_there(&self) -> bool {
        self.folder.join(LINK).exists()
    }

    /// Records for a successor whether nodes are answered.
    pub(super) fn set_has_nodes(&self, has_nodes: bool) {
        let word = self.folder.join(WITHOUT_NODES);
        let noted = if has_nodes {
            removed(fs::remove_dir(&word))
        } else {
            pins::make_folder(&word)
        };
        if let Err(error) = noted {
            warn!("{}: {error}", word.display());
        }
    }

    /// Records that the tables were put into service now.
    pub(super) fn set_time(&self) {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let now = Timestamps {
            last_access: now,
            last_modification: now,
        };
        let link = self.folder.join(LINK);
        if let Err(error) = utimensat(CWD, &link, &now, AtFlags::SYMLINK_NOFOLLOW) {
            warn!("{}: its age will be wrong: {error}", link.display());
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = pins::remove(&self.folder)
        {
            warn!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

impl Program {
    /// Pins the program and its maps in `folder`, in place of those of a previous daemon.
    pub(super) fn pin(&mut self, folder: &Path) -> Result<()> {
        for map in SHOWN.iter().chain(&ADOPTED) {
            let path = folder.join(map);
            removed(fs::remove_file(&path))?;
            self.map(map)?.pin(path)?;
        }
        let path = folder.join(PROGRAM);
        removed(fs::remove_file(&path))?;
        self.xdp()?.pin(path)?;
        Ok(())
    }
}
