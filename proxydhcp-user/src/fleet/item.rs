//! What has a key, or a line of a page, in a fleet's source.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::printable;

/// What has a key, or a line of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'c> {
    /// A node of this name.
    Node(&'c str),
    /// A group of this name.
    Group(&'c str),
    /// The setting of this key.
    Setting(&'c str),
}

/// What kind of item it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the kinds are those of Item")]
pub enum Kind {
    Node,
    Group,
    Setting,
}

const NODES: &str = "nodes";
const GROUPS: &str = "groups";
const SETTINGS: &str = "settings";

impl<'c> Item<'c> {
    /// Its kind.
    pub fn kind(self) -> Kind {
        match self {
            Self::Node(_) => Kind::Node,
            Self::Group(_) => Kind::Group,
            Self::Setting(_) => Kind::Setting,
        }
    }

    /// Its name, among those of its kind.
    pub fn name(self) -> &'c str {
        match self {
            Self::Node(name) | Self::Group(name) | Self::Setting(name) => name,
        }
    }

    /// What keys and lines call it, such as `nodes/n1`.
    pub fn path(self) -> String {
        let folder = match self.kind() {
            Kind::Node => NODES,
            Kind::Group => GROUPS,
            Kind::Setting => SETTINGS,
        };
        format!("{folder}/{}", self.name())
    }

    /// The item of a path; `None` if it is of none.
    pub fn parse(path: &'c str) -> Option<Self> {
        // A node's name may have slashes.
        let (folder, name) = path.split_once('/')?;
        match folder {
            _ if name.is_empty() => None,
            NODES => Some(Self::Node(name)),
            GROUPS => Some(Self::Group(name)),
            SETTINGS => Some(Self::Setting(name)),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Group => "group",
            Self::Setting => "setting",
        })
    }
}

/// A node that cannot be served as its key has it, and gets no answer; or a group or a setting that
/// counts as if there were none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadItem {
    /// What it would be.
    pub kind: Kind,
    /// Its name, with unprintable characters escaped.
    pub name: String,
    /// What is wrong, with the remedy.
    pub why: String,
}

impl BadItem {
    /// An item, and what is wrong with it.
    pub(super) fn new(item: Item<'_>, why: String) -> Self {
        Self {
            kind: item.kind(),
            name: printable(item.name().as_bytes()),
            why,
        }
    }
}

impl fmt::Display for BadItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} is refused: {}", self.kind, self.name, self.why)
    }
}
