//! The protocol of the control socket: one request and one reply for each connection, each a line
//! of JSON.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::activity::{EventsPage, NodesPage, StrangersPage};
use crate::api::status::{Problems, Reloaded, Status};
use crate::api::storm::{Position, Update};
use crate::tables::explain::Looked;
use crate::text::Few;

/// The socket that the daemon listens on by default.
pub const DEFAULT_SOCKET: &str = "/run/proxydhcp/control.sock";

/// How long a client may take to send its request, and to take each piece of the reply.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What a reload may take out of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Allowed {
    /// Whether tables without a node may replace others.
    #[serde(default, rename = "allow_empty")]
    pub empty: bool,
    /// The share, in percent, of the addresses in service that nodes may lose whose records stay. If
    /// none is given, it is the daemon's.
    #[serde(default, rename = "allow_loss")]
    pub loss: Option<u16>,
}

impl Allowed {
    /// The share, in percent, where `usual` is the daemon's.
    pub(crate) fn loss_or(self, usual: u16) -> u16 {
        if self.empty {
            return 100;
        }
        self.loss.unwrap_or(usual)
    }
}

/// A request to the daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// Read the files again.
    Reload(Allowed),
    /// Report the status.
    Status {
        /// Whether to list all problems; otherwise they are summarised for people.
        #[serde(default)]
        whole: bool,
    },
    /// Explain what a client gets, and why.
    Lookup {
        /// The client's address or name.
        client: String,
        /// The client's architecture.
        arch: u16,
    },
    /// Name the nodes that are served a WinPE.
    Users {
        /// Its path, which ends with a slash.
        winpe: String,
    },
    /// Say what nodes have done: those with these names, or a page of all.
    Nodes {
        /// The names; `None`: all.
        #[serde(default)]
        names: Option<Vec<String>>,
        /// Where the page begins.
        #[serde(default)]
        from: usize,
    },
    /// Say which clients that are no node have asked last.
    Strangers,
    /// Say what has happened.
    Events {
        /// The number of the last event that is known; 0: none.
        #[serde(default)]
        after: u64,
    },
    /// Report the states of all nodes, or of those that have changed.
    Storm(Position),
}

/// The number of nodes on a page.
pub(crate) const PAGE: usize = 10_000;

/// The daemon's reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The files are in service.
    Reloaded(Arc<Reloaded>),
    /// The files or the request are rejected; what was in service stays.
    Rejected(String),
    /// The status, with all problems.
    Status(Box<Status>),
    /// The status, with the problems summarised for people.
    Brief(Box<Status<Problems>>),
    /// What a client gets, for each of its addresses.
    Looked(Vec<Looked>),
    /// The nodes in service that have the WinPE.
    Users(Few<String>),
    /// What nodes have done.
    Nodes(NodesPage),
    /// The last clients that are no node, the newest first.
    Strangers(StrangersPage),
    /// What has happened.
    Events(EventsPage),
    /// What is new about the nodes.
    Storm(Box<Update>),
}
