//! The control socket: one request and one reply a connection, each a line of JSON.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::status::{Problems, Reloaded, Status};
use crate::tables::explain::Looked;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/proxydhcp/control.sock";

/// How long a client may take to say what it wants, and to take each piece of the reply.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A request to the daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// Read the files again.
    Reload {
        /// A file without records may replace one with some.
        #[serde(default)]
        allow_empty: bool,
    },
    /// Tell how things stand.
    Status {
        /// With all that is wrong; else with what people are told of it.
        #[serde(default)]
        whole: bool,
    },
    /// Tell what a client gets, and why.
    Lookup {
        /// Its address, or its name.
        client: String,
        /// Its architecture.
        arch: u16,
    },
}

/// The daemon's reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The files are in service.
    Reloaded(Arc<Reloaded>),
    /// The files, or the request, are rejected; what was in service is still.
    Rejected(String),
    /// How things stand, with all that is wrong.
    Status(Box<Status>),
    /// How things stand, with what people are told of what is wrong.
    Brief(Box<Status<Problems>>),
    /// What a client gets, for each of its addresses.
    Looked(Vec<Looked>),
}
