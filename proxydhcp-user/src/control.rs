//! The control socket: one request and one reply a connection, each a line of JSON.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::stat::{Mode, umask};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream as Connection};
use tokio::time::timeout;
use tracing::debug;

use crate::service::Service;
use crate::status::{Reloaded, Status};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/proxydhcp/control.sock";

/// What a request may at most be, in bytes.
const MAX_REQUEST: u64 = 4096;

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
}

/// The daemon's end. Dropping it removes the socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens on the socket, for root and its group alone, and removes what a daemon that was
    /// killed has left there.
    ///
    /// # Errors
    ///
    /// Another daemon listens there; the system's.
    pub fn bind(path: &Path) -> Result<Self> {
        let shown = path.display();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder of the control socket {shown}"))?;
        }
        if let Ok(metadata) = fs::symlink_metadata(path) {
            if !metadata.file_type().is_socket() {
                bail!("{shown} is there and no socket; remove it, or use another with --control");
            }
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => bail!("another daemon listens on {shown}; use another socket with --control"),
            }
            fs::remove_file(path).with_context(|| format!("cannot remove the stale {shown}"))?;
        }
        let before = umask(Mode::from_bits_truncate(0o117));
        let listener = UnixListener::bind(path);
        umask(before);
        Ok(Self {
            listener: listener.with_context(|| format!("cannot listen on {shown}"))?,
            path: path.to_owned(),
        })
    }

    /// Serves requests, each on its own, so that a slow client holds up no other.
    pub async fn run(&self, service: &Arc<Service>) {
        loop {
            match self.listener.accept().await {
                Ok((connection, _)) => {
                    let service = Arc::clone(service);
                    tokio::spawn(async move {
                        if let Err(error) = converse(connection, &service).await {
                            debug!("control socket: {error:#}");
                        }
                    });
                }
                Err(error) => {
                    debug!("control socket: {error}");
                    // Out of descriptors, most likely: others will be closed.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, with all of /run.
        let _ = fs::remove_file(&self.path);
    }
}

async fn converse(mut connection: Connection, service: &Service) -> Result<()> {
    let (reader, mut writer) = connection.split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(reader.take(MAX_REQUEST));
    timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let reply = match serde_json::from_str(&line) {
        Ok(Request::Reload { allow_empty }) => match service.reload(allow_empty).await {
            Ok(reloaded) => Reply::Reloaded(Box::new(reloaded)),
            Err(error) => Reply::Rejected(format!("{error:#}")),
        },
        Ok(Request::Status) => Reply::Status(Box::new(service.status())),
        Err(error) => Reply::Rejected(format!("not a request: {error}")),
    };
    let mut reply = serde_json::to_vec(&reply)?;
    reply.push(b'\n');
    timeout(PATIENCE, writer.write_all(&reply)).await??;
    Ok(())
}

/// Nobody listens on the socket.
#[derive(Debug, thiserror::Error)]
#[error(
    "no daemon listens on {}; start one with `proxydhcp serve`, or name its socket with --control",
    .0.display()
)]
pub struct NoDaemon(PathBuf);

/// Sends a request to the daemon and waits for its reply.
///
/// # Errors
///
/// No daemon listens there, see [`NoDaemon`]; it ended before it replied.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply> {
    let shown = socket.display();
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            anyhow::Error::new(NoDaemon(socket.to_owned()))
        }
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
