//! Pins the program, so that it outlives this process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tracing::warn;

use super::Program;
use crate::datapath::xdp::pins::{self, ADOPTED, LINK, WITHOUT_NODES};
use crate::sys::interface::Interface;

/// Where and how a program outlives this process.
pub(super) struct Pinned {
    folder: PathBuf,
    /// Whether it has been in service, through this daemon or a previous one: only a clean stop
    /// ends it.
    stays: bool,
}

impl Pinned {
    /// The place to pin a program in, with the pins found there.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            stays: folder.join(LINK).exists(),
        }
    }

    fn set_has_nodes(&self, has_nodes: bool) {
        let word = self.folder.join(WITHOUT_NODES);
        let noted = if has_nodes {
            absent(fs::remove_dir(&word))
        } else {
            pins::make_folder(&word)
        };
        if let Err(error) = noted {
            warn!("{}: {error}", word.display());
        }
    }
}

impl Program {
    /// Pins everything that answers without this process. If `before` is given, the link is already
    /// pinned in that folder. If pinning fails, the program still serves.
    pub(super) fn pin(&mut self, interface: &Interface, before: Option<&Path>) -> Result<()> {
        match self.try_to_pin(before) {
            // A link that cannot be pinned is lost with this process.
            Err(error) if self.link.is_none() => {
                Err(error.context("cannot pin the program's link; --no-pin does without"))
            }
            Err(error) => {
                let name = &interface.name;
                warn!("{name}: a killed daemon's successor will start anew: {error:#}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn try_to_pin(&mut self, before: Option<&Path>) -> Result<()> {
        let folder = self.pinned.as_ref().map(|pinned| pinned.folder.clone());
        if let Some(folder) = &folder {
            pins::make_folder(folder)?;
            for map in ["NODES", "TEMPLATES"].iter().chain(&ADOPTED) {
                let path = folder.join(map);
                unpin(&path)?;
                self.map(map)?.pin(path)?;
            }
            let path = folder.join("program");
            unpin(&path)?;
            self.xdp()?.pin(path)?;
            // The link comes last, so that a folder with a link is complete.
            if Some(folder.as_path()) != before
                && let Some(link) = self.link.take()
            {
                self.link = Some(link.pin(folder.join(LINK))?.into());
            }
            self.set_has_nodes(self.has_nodes);
        }
        if let Some(before) = before.filter(|before| folder.as_deref() != Some(before)) {
            pins::forget(before)?;
        }
        Ok(())
    }

    /// From now on, a pinned program is only removed from the kernel by [`Program::detach`].
    pub fn stays(&mut self) {
        if let Some(pinned) = &mut self.pinned {
            pinned.stays = true;
        }
    }

    /// Detaches the program, whether it is pinned or not.
    pub fn detach(mut self) {
        if let Some(pinned) = &mut self.pinned {
            pinned.stays = false;
        }
    }

    /// Records for a successor whether nodes are answered. Call it before the first tables with
    /// nodes, and after the first without.
    pub(super) fn set_has_nodes(&mut self, has_nodes: bool) {
        self.has_nodes = has_nodes;
        // Until it is attached, the program pinned there is that of a previous daemon.
        if let Some(pinned) = &self.pinned
            && (has_nodes || self.link.is_some())
        {
            pinned.set_has_nodes(has_nodes);
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

/// Removes the pin of a previous program, if there is one.
fn unpin(path: &Path) -> io::Result<()> {
    absent(fs::remove_file(path))
}

/// Accepts that the file does not exist.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
