//! What nodes have done, as the daemon says it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Some of the nodes, in the order of `proxydhcp.cfg`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodesPage {
    /// The nodes.
    pub nodes: Vec<NodeActivity>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<usize>,
    /// The number of nodes of all pages. Those that are refused or disabled are none.
    pub total: usize,
    /// The number of nodes that are not followed, because there are too many nodes or WinPEs.
    pub not_followed: usize,
    /// The daemon's time, in seconds since 1970.
    pub now: f64,
}

/// What a node has done. Times are in seconds since 1970, exact to 17 ms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeActivity {
    /// The node's name in `proxydhcp.cfg`.
    pub node: String,
    /// The addresses that it is known by.
    pub addresses: Vec<Ipv4Addr>,
    /// The path of its WinPE, empty for the default one.
    pub winpe: String,
    /// How far it is.
    pub state: State,
    /// Why its last request got no answer, by the name that `status` counts it by, or `limited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The number of its requests in all.
    pub requests: u32,
    /// The number of its requests in its last boot, which began after a silence of 30 s.
    pub tries: u32,
    /// When its first request of all came.
    pub first: Option<f64>,
    /// When its last boot began.
    pub boot: Option<f64>,
    /// When its last request came.
    pub last: Option<f64>,
    /// When a request of it was last answered.
    pub answered: Option<f64>,
    /// Its architecture, as option 93 has it.
    pub arch: Option<u8>,
    /// The loader that this architecture is sent to, below the TFTP root.
    pub loader: Option<String>,
    /// What the TFTP server last did for it in its last boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferActivity>,
    /// Whether it is followed at all; if not, it seems silent.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub followed: bool,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_yes(followed: &bool) -> bool {
    *followed
}

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has never asked.
    Silent,
    /// It has got an offer, and not asked for its loader yet.
    Asked,
    /// Its last request was answered.
    Answered,
    /// Its last request was refused, or had to be limited.
    Refused,
    /// It fetches files by TFTP from this daemon.
    Fetching,
    /// It has fetched its image.
    Fetched,
    /// It has not got the last file that it asked for.
    Failed,
}

impl State {
    /// All states, from the first to the last of a boot.
    pub const ALL: [Self; 7] = [
        Self::Silent,
        Self::Asked,
        Self::Refused,
        Self::Answered,
        Self::Failed,
        Self::Fetching,
        Self::Fetched,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Asked => "asked",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Fetching => "fetching",
            Self::Fetched => "fetched",
            Self::Failed => "failed",
        }
    }
}

/// A file on its way to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferActivity {
    /// Its name below the TFTP root; `None` after a restart.
    pub file: Option<String>,
    /// What kind of file it is: `loader` (or any other), `bcd` or `image`.
    pub kind: String,
    /// `running`, `complete` or `failed`.
    pub state: String,
    /// The bytes that the node has.
    pub bytes: u64,
    /// The file's length in bytes, while it is sent.
    pub size: Option<u64>,
}

/// A client that is no node, and got no answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StrangerActivity {
    /// Its address.
    pub address: Ipv4Addr,
    /// The MAC address that its last frame came from: its own, or a router's.
    pub mac: String,
    /// Why it got none, by the name that `status` counts it by, or `limited`.
    pub reason: String,
    /// The number of its requests that are remembered.
    pub requests: u32,
    /// When the first of them came, in seconds since 1970.
    pub first: f64,
    /// When the last one came.
    pub last: f64,
}

/// The clients that are no node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StrangersPage {
    /// Those that asked last, the newest first.
    pub strangers: Vec<StrangerActivity>,
    /// The requests that were not noted, because there were too many at once.
    pub not_noted: u64,
}

/// Some of the events that the daemon remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventsPage {
    /// The events, the oldest first.
    pub events: Vec<Event>,
    /// The number of the last event up to here, to ask for those behind it.
    pub last: u64,
    /// Whether there are more already.
    pub more: bool,
    /// The events behind the one asked for that are forgotten by now.
    pub lost: u64,
    /// When the daemon started, in seconds since 1970: another one counts anew.
    pub daemon: f64,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, from 1.
    pub number: u64,
    /// When it was noticed, in seconds since 1970.
    pub time: f64,
    /// What has happened.
    #[serde(flatten)]
    pub what: Happened,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Happened {
    /// A node's boot begins: its first request after 30 s.
    Begins {
        /// The node.
        node: String,
        /// Its architecture, as option 93 has it.
        arch: Option<u8>,
    },
    /// A node asks again in the same boot.
    Retries {
        /// The node.
        node: String,
        /// The number of its requests so far.
        tries: u32,
    },
    /// A node has fetched its image, or has not asked again for 30 s after it was answered.
    Ends {
        /// The node.
        node: String,
        /// Whether it has fetched its image from this daemon.
        fetched: bool,
        /// Seconds since its first request; those to its last one, if nothing more is known.
        seconds: f64,
    },
    /// A node gets no answer, or has not got a file.
    Fails {
        /// The node.
        node: String,
        /// Why, by the name that `status` counts it by, `limited`, or `transfer`.
        reason: String,
    },
    /// Files were put into service.
    Reloaded {
        /// The generation of the tables.
        generation: u64,
        /// The nodes in service.
        nodes: usize,
        /// The milliseconds that it took.
        milliseconds: f64,
    },
    /// Files were rejected, and those in service stay.
    Rejected {
        /// Why.
        reason: String,
    },
    /// An interface is served from now on.
    Serving {
        /// The interface, and what answers there.
        interface: String,
    },
    /// An interface is no longer served as it was.
    NotServing {
        /// The interface, and what answered there.
        interface: String,
    },
}
