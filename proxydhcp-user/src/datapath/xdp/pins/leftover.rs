//! What a killed daemon has left for one interface.

use std::io;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};

use super::{LINK, WITHOUT_NODES, remove};
use crate::sys::interface::{AttachedXdp, Interface};

/// What a killed daemon has left for one interface.
pub struct Leftover {
    folder: PathBuf,
    /// The kernel's number of the interface.
    index: Option<u32>,
    /// The link, which stays pinned.
    link: Option<Link>,
}

/// A link, with the kernel's numbers for it and for its program.
struct Link {
    fd: FdLink,
    id: u32,
    program: u32,
}

impl Leftover {
    pub(super) fn open(folder: PathBuf) -> Self {
        let name = folder.file_name().and_then(|name| name.to_str());
        Self {
            index: name.and_then(|name| name.parse().ok()),
            link: open_link(&folder.join(LINK)),
            folder,
        }
    }

    /// Whether it is on this interface; one in another network namespace may have the same number.
    pub fn is_on(&self, interface: &Interface) -> bool {
        self.index == Some(interface.index)
            && self.program().is_some()
            && self.program() == interface.xdp.map(|AttachedXdp { program, .. }| program)
    }

    /// The kernel's number for its program.
    pub fn program(&self) -> Option<u32> {
        self.link.as_ref().map(|link| link.program)
    }

    /// Whether it answers nodes, according to its daemon.
    pub fn has_nodes(&self) -> bool {
        self.link.is_some() && !self.folder.join(WITHOUT_NODES).exists()
    }

    /// The folder where it is pinned.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The link, which stays pinned.
    pub fn into_link(self) -> Option<FdLink> {
        self.link.map(|link| link.fd)
    }

    pub(super) fn is_of_the_link_of(&self, other: &Self) -> bool {
        let id = |of: &Self| of.link.as_ref().map(|link| link.id);
        id(self).is_some() && id(self) == id(other)
    }

    /// Removes it from the kernel. Returns a line that names its interface, if that is among `all`.
    ///
    /// # Errors
    ///
    /// If its folder cannot be removed.
    pub fn remove(self, all: &[Interface]) -> io::Result<String> {
        let what = self.describe(all);
        match remove(&self.folder) {
            Ok(()) => Ok(format!("{what}: removed")),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("{what}: it cannot be removed: {error}"),
            )),
        }
    }

    fn describe(&self, all: &[Interface]) -> String {
        let interface = all.iter().find(|interface| self.is_on(interface));
        match (interface, self.index) {
            (Some(interface), _) => format!("{}: what a killed daemon left", interface.name),
            (None, Some(index)) => format!(
                "what a killed daemon left on interface number {index}, which no longer exists here"
            ),
            (None, None) => format!("{}, of an unknown daemon", self.folder.display()),
        }
    }
}

fn open_link(path: &Path) -> Option<Link> {
    let link = FdLink::from(PinnedLink::from_pin(path).ok()?);
    let info = link.info().ok()?;
    Some(Link {
        id: info.id(),
        program: info.program_id(),
        fd: link,
    })
}
