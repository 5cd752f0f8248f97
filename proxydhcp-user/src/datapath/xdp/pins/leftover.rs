//! What a killed daemon has left for one interface.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aya::programs::links::{FdLink, PinnedLink};

use super::link::{Held, PinnedXdp};
use super::{LINK, WITHOUT_NODES, age_of, forget, forget_program, remove};
use crate::sys::interface::{AttachedXdp, Interface};
use crate::sys::trusted::TrustedFolder;

/// What a killed daemon has left for one interface.
#[derive(Debug)]
pub struct Leftover {
    folder: PathBuf,
    home: Home,
    /// The kernel's number of the interface, by the folder's name.
    index: Option<u32>,
    link: Link,
}

/// Where it lies.
#[derive(Clone, Debug)]
pub(super) enum Home {
    /// In this namespace's folder, where this daemon's own pins are.
    Own,
    /// In this namespace's folder of another layout.
    Former,
    /// In a layout without folders of namespaces: it may be of any.
    Flat,
    /// In the folder of a namespace that is gone, which is held as long as it is looked at.
    Gone(#[expect(dead_code, reason = "it is locked")] Arc<TrustedFolder>),
}

/// The link, which stays pinned.
#[derive(Debug)]
enum Link {
    /// There is none.
    None,
    /// It cannot be read, for want of memory, say: nobody knows what it holds.
    Unreadable(io::Error),
    Held(Held),
}

impl Leftover {
    pub(super) fn open(folder: PathBuf, home: Home) -> Self {
        let name = folder.file_name().and_then(|name| name.to_str());
        Self {
            index: name.and_then(|name| name.parse().ok()),
            link: read_link(&folder.join(LINK)),
            folder,
            home,
        }
    }

    /// Whether it is on this interface; one in another network namespace may have the same number.
    pub fn is_on(&self, interface: &Interface) -> bool {
        self.held().is_some_and(|held| {
            let program = interface.xdp.map(|AttachedXdp { program, .. }| program);
            (held.interface, Some(held.program)) == (Some(interface.index), program)
        })
    }

    fn held(&self) -> Option<&Held> {
        match &self.link {
            Link::Held(held) => Some(held),
            Link::None | Link::Unreadable(_) => None,
        }
    }

    /// Whether it holds a program on no interface.
    pub(super) fn is_gone(&self) -> bool {
        match &self.link {
            Link::None => true,
            Link::Unreadable(_) => false,
            Link::Held(held) => held.interface.is_none(),
        }
    }

    /// Whether it may be removed, as one of a host that has `all` these interfaces.
    pub fn is_removable(&self, all: &[Interface]) -> bool {
        match (&self.link, &self.home) {
            (Link::Unreadable(_), _) => false,
            (_, Home::Flat) => self.is_gone() || all.iter().any(|it| self.is_on(it)),
            _ => true,
        }
    }

    /// The kernel's number for the interface that it is on, in whatever network namespace.
    pub fn interface(&self) -> Option<u32> {
        self.held().and_then(|held| held.interface)
    }

    /// The kernel's number for its program.
    pub fn program(&self) -> Option<u32> {
        self.held().map(|held| held.program)
    }

    /// Whether it answers nodes, according to its daemon.
    pub fn has_nodes(&self) -> bool {
        self.held().is_some() && !self.folder.join(WITHOUT_NODES).exists()
    }

    /// How long ago its tables were put into service.
    pub fn age(&self) -> Option<Duration> {
        age_of(&self.folder.join(LINK))
    }

    /// Whether its program counts in the maps that this daemon's program counts in.
    pub fn shares_counters(&self) -> bool {
        matches!(self.home, Home::Own)
    }

    /// The folder where it is pinned.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The link; it stays pinned.
    ///
    /// # Errors
    ///
    /// There is no such link any more, or no memory for it.
    pub fn link(&self) -> anyhow::Result<FdLink> {
        Ok(PinnedLink::from_pin(self.folder.join(LINK))?.into())
    }

    pub(super) fn is_of_the_link_of(&self, other: &Self) -> bool {
        let id = |of: &Self| of.held().map(|held| held.id);
        id(self).is_some() && id(self) == id(other)
    }

    /// Removes it from the kernel. Returns a line that names its interface, if that is among `all`.
    ///
    /// # Errors
    ///
    /// Its folder cannot be removed.
    pub fn remove(self, all: &[Interface]) -> io::Result<String> {
        let what = self.describe(all);
        let removed = match &self.link {
            Link::Unreadable(error) => Err(io::Error::new(error.kind(), error.to_string())),
            Link::None | Link::Held(_) => remove(&self.folder).map(|()| self.tidy_up()),
        };
        match removed {
            Ok(()) => Ok(format!("{what}: removed")),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("{what}: it cannot be removed: {error}"),
            )),
        }
    }

    /// Removes its pins; what they hold is held by others, too.
    ///
    /// # Errors
    ///
    /// Its folder may be changed by others, or a file in it cannot be removed.
    pub fn forget(&self) -> io::Result<()> {
        forget(&self.folder)?;
        self.tidy_up();
        Ok(())
    }

    /// Removes the folders that it was in, where nothing is left in them and nobody uses them.
    fn tidy_up(&self) {
        if matches!(self.home, Home::Own) {
            return;
        }
        let mut folder = self.folder.as_path();
        for _ in 0..2 {
            let Some(above) = folder.parent() else { return };
            let opened = TrustedFolder::open(above);
            let outer = above.parent().map(TrustedFolder::open);
            let (Ok(opened), Some(Ok(outer))) = (opened, outer) else {
                return;
            };
            forget_program(&opened);
            if outer.remove_child(opened.name()).is_err() {
                return;
            }
            folder = above;
        }
    }

    fn describe(&self, all: &[Interface]) -> String {
        let interface = all.iter().find(|interface| self.is_on(interface));
        match (interface, self.index) {
            (Some(interface), _) => format!("{}: what a killed daemon left", interface.name),
            (None, Some(index)) if !matches!(self.link, Link::Unreadable(_)) => format!(
                "what a killed daemon left on interface number {index}, which no longer exists here"
            ),
            _ => format!("{}, which a killed daemon left", self.folder.display()),
        }
    }
}

fn read_link(path: &Path) -> Link {
    match PinnedXdp::open(path).and_then(|link| link.held()) {
        Ok(Some(held)) => Link::Held(held),
        Ok(None) => Link::None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Link::None,
        Err(error) => Link::Unreadable(error),
    }
}
