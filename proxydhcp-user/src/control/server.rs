//! The daemon's end of the control socket.
//!
//! A client has little time to say what it wants and to take its reply, and less where others wait
//! for its place. So those that are stuck, however many, do not keep others from being answered.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Gid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream as Connection};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;
use tracing::{debug, info};

use super::{PATIENCE, Reply, Request};
use crate::arch::Architecture;
use crate::service::Service;

/// What a request may at most be, in bytes.
const MAX_REQUEST: u64 = 4096;

/// Clients at once.
const PLACES: usize = 64;

/// How long a client may keep the daemon waiting while others wait for its place.
const HASTE: Duration = Duration::from_secs(1);

/// The daemon's end. Dropping it removes the socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens on the socket, for this user and `group` alone, or its own group; and removes what a
    /// daemon that was killed has left there.
    ///
    /// # Errors
    ///
    /// Another daemon listens there; the group is not this user's; the system's.
    pub fn bind(path: &Path, group: Option<Gid>) -> Result<Self> {
        let shown = path.display();
        if let Some(folder) = path.parent() {
            make(folder)
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
        // It is never open to others, not even for the moment between two calls.
        let before = umask(Mode::from_bits_truncate(0o117));
        let listener = UnixListener::bind(path);
        umask(before);
        let server = Self {
            listener: listener.with_context(|| format!("cannot listen on {shown}"))?,
            path: path.to_owned(),
        };
        if let Some(group) = group {
            chown(path, None, Some(group.as_raw()))
                .with_context(|| format!("cannot give {shown} to its group"))?;
        }
        Ok(server)
    }

    /// Serves requests, each on its own.
    pub async fn run(&self, service: &Arc<Service>) {
        let places = Arc::new(Semaphore::new(PLACES));
        let (crowded, hurry) = watch::channel(false);
        loop {
            let connection = match self.listener.accept().await {
                Ok((connection, _)) => connection,
                Err(error) => {
                    debug!("control socket: {error}");
                    // Out of descriptors, most likely: others will be closed.
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            crowded.send_replace(places.available_permits() == 0);
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            crowded.send_replace(false);
            let (service, hurry) = (Arc::clone(service), hurry.clone());
            tokio::spawn(async move {
                if let Err(error) = converse(connection, hurry, &service).await {
                    debug!("control socket: {error:#}");
                }
                drop(place);
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, with all of /run.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a folder that everybody may look into, whatever the umask; what is there stays as it is.
fn make(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

async fn converse(
    mut connection: Connection,
    mut hurry: watch::Receiver<bool>,
    service: &Arc<Service>,
) -> Result<()> {
    let peer = connection.peer_cred()?;
    let (reader, mut writer) = connection.split();
    let mut line = Vec::new();
    let mut reader = tokio::io::BufReader::new(reader.take(MAX_REQUEST));
    in_time(&mut hurry, reader.read_until(b'\n', &mut line)).await?;
    let reply = match serde_json::from_slice(&line) {
        Ok(Request::Reload { allow_empty }) => {
            let pid = peer.pid().unwrap_or(0);
            info!("reload asked for by uid {}, pid {pid}", peer.uid());
            match service.reload(allow_empty).await {
                Ok(reloaded) => Reply::Reloaded(Box::new((*reloaded).clone())),
                Err(error) => Reply::Rejected(format!("{error:#}")),
            }
        }
        Ok(Request::Status) => Reply::Status(Box::new(service.status())),
        Ok(Request::Lookup { client, arch }) => {
            Reply::Looked(service.look_up(&client, Architecture(arch)))
        }
        Err(_) if line.len() as u64 == MAX_REQUEST => {
            Reply::Rejected(format!("not a request: longer than {MAX_REQUEST} bytes"))
        }
        Err(error) => Reply::Rejected(format!("not a request: {error}")),
    };
    let mut reply = serde_json::to_vec(&reply)?;
    reply.push(b'\n');
    in_time(&mut hurry, writer.write_all(&reply)).await?;
    Ok(())
}

/// What depends on the client, for as long as it may take.
async fn in_time<T>(
    crowded: &mut watch::Receiver<bool>,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T> {
    let hurried = async {
        sleep(HASTE).await;
        // It fails when the daemon stops.
        let _ = crowded.wait_for(|crowded| *crowded).await;
    };
    tokio::select! {
        done = work => Ok(done?),
        () = hurried => bail!("a client that keeps others waiting is hung up on"),
        () = sleep(PATIENCE) => bail!("a client takes too long"),
    }
}
