//! The control socket: one request and one reply a connection, each a line of JSON.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::unistd::{Gid, Group};
use serde::{Deserialize, Serialize};

use crate::lookup::Looked;
use crate::status::{Reloaded, Status};

mod server;

pub use server::Server;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/proxydhcp/control.sock";

/// How long a client may take to say what it wants, and to take the reply.
const PATIENCE: Duration = Duration::from_secs(5);

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
    Status,
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
    Reloaded(Box<Reloaded>),
    /// The files, or the request, are rejected; what was in service is still.
    Rejected(String),
    /// How things stand.
    Status(Box<Status>),
    /// What a client gets, for each of its addresses.
    Looked(Vec<Looked>),
}

/// No daemon listens on this socket.
#[derive(Debug, thiserror::Error)]
#[error(
    "no daemon listens on {}; start one with `proxydhcp serve`, or name its socket with --control",
    .0.display()
)]
pub struct NoDaemon(pub PathBuf);

/// Sends a request to the daemon and waits for its reply.
///
/// # Errors
///
/// [`NoDaemon`] listens there; it ended before it replied.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply> {
    let shown = socket.display();
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            anyhow::Error::new(NoDaemon(socket.to_owned()))
        }
        io::ErrorKind::PermissionDenied => not_allowed(socket),
        _ => anyhow::Error::new(error).context(format!("cannot connect to {shown}")),
    })?;
    // A reload may wait for slow files and names; a daemon that is stopped never answers.
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = String::new();
    BufReader::new(stream)
        .read_line(&mut reply)
        .with_context(|| format!("the daemon on {shown} did not reply"))?;
    serde_json::from_str(&reply)
        .with_context(|| format!("the daemon on {shown} ended, or is of another version"))
}

/// Who may connect: whoever may write to the socket.
fn not_allowed(socket: &Path) -> anyhow::Error {
    let group = fs::metadata(socket).map(|socket| Gid::from_raw(socket.gid()));
    let group = group.ok().filter(|group| group.as_raw() != 0);
    let or_in_group = group.map_or_else(String::new, |group| {
        let name = Group::from_gid(group).ok().flatten();
        let name = name.map_or_else(|| group.to_string(), |group| group.name);
        format!(" or in the group {name}")
    });
    anyhow!(
        "you may not ask the daemon on {}: you need to be root{or_in_group}",
        socket.display()
    )
}
