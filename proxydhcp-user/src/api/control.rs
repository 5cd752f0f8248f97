//! The control socket: one request and one reply a connection, each a line of JSON.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::unistd::{Gid, Group};
use serde::{Deserialize, Serialize};

use crate::api::status::{Problems, Reloaded, Status};
use crate::tables::explain::Looked;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/proxydhcp/control.sock";

/// How long a command waits for its reply: a reload may wait for slow files and names. A daemon that
/// is stopped never answers.
const LIMIT: Duration = Duration::from_mins(1);

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
/// [`NoDaemon`] listens there; it ended before it replied; it has not replied in a minute.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply> {
    ask_within(LIMIT, socket, request)
}

fn ask_within(limit: Duration, socket: &Path, request: &Request) -> Result<Reply> {
    let shown = socket.display();
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            anyhow::Error::new(NoDaemon(socket.to_owned()))
        }
        io::ErrorKind::PermissionDenied => not_allowed(socket),
        _ => anyhow::Error::new(error).context(format!("cannot connect to {shown}")),
    })?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream
        .write_all(&line)
        .with_context(|| format!("cannot ask the daemon on {shown}"))?;
    let mut reply = String::new();
    if let Err(error) = BufReader::new(stream).read_line(&mut reply) {
        return Err(match (error.kind(), request) {
            (io::ErrorKind::WouldBlock, Request::Reload { .. }) => anyhow!(
                "the daemon on {shown} has not told within {limit:?} what came of the reload, and \
                 goes on with it; `proxydhcp status` and the daemon's log tell"
            ),
            (io::ErrorKind::WouldBlock, _) => {
                anyhow!("the daemon on {shown} has not replied within {limit:?}")
            }
            _ => anyhow::Error::new(error).context(format!("the daemon on {shown} did not reply")),
        });
    }
    if !reply.ends_with('\n') {
        bail!(
            "the daemon on {shown} hung up before the end of its reply: it ended, or did not wait \
             for this command to take it"
        );
    }
    serde_json::from_str(&reply)
        .with_context(|| format!("the daemon on {shown} is of another version"))
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What comes of asking a daemon that says no more than this, and goes on or ends.
    fn error(request: &Request, said: &[u8], ends: bool) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let said = said.to_vec();
        let daemon = std::thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(&client).read_line(&mut asked).unwrap();
            (&client).write_all(&said).unwrap();
            (!ends).then_some(client)
        });
        let error = ask_within(Duration::from_millis(100), &path, request).unwrap_err();
        drop(daemon.join());
        format!("{error:#}").replace(&path.display().to_string(), "SOCKET")
    }

    #[test]
    fn it_is_told_what_became_of_the_reply() {
        let reload = Request::Reload { allow_empty: false };
        let status = Request::Status { whole: false };
        assert_eq!(
            error(&reload, b"", false),
            "the daemon on SOCKET has not told within 100ms what came of the reload, and goes on \
             with it; `proxydhcp status` and the daemon's log tell"
        );
        assert_eq!(
            error(&status, b"{\"brief\":", false),
            "the daemon on SOCKET has not replied within 100ms"
        );
        assert_eq!(
            error(&status, b"{\"brief\":", true),
            "the daemon on SOCKET hung up before the end of its reply: it ended, or did not wait \
             for this command to take it"
        );
        let other = error(&status, b"{\"short\":1}\n", true);
        let start = "the daemon on SOCKET is of another version: unknown variant";
        assert!(other.starts_with(start), "{other}");
    }
}
