//! The socket that the daemon listens on.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Gid;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use crate::sys::trusted::TrustedFolder;

/// The daemon's end. Dropping it removes the socket.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens on the socket, which is open to this user and to `group`, or the user's own group,
    /// alone. Removes a socket that a killed daemon has left there.
    ///
    /// # Errors
    ///
    /// If another daemon listens there, `group` is not one of this user's, or the socket or its
    /// folder cannot be created.
    pub(crate) fn bind(path: &Path, group: Option<Gid>) -> Result<Self> {
        let shown = path.display();
        if let Some(folder) = path.parent() {
            make(folder)
                .with_context(|| format!("cannot make the folder of the control socket {shown}"))?;
        }
        judge(path)?;
        if path.symlink_metadata().is_ok() {
            let listens = has_listener(path).with_context(|| {
                format!(
                    "cannot find out whether a daemon listens on {shown}; remove it if none does, \
                     or use another socket with --control"
                )
            })?;
            if listens {
                bail!("another daemon listens on {shown}; use another socket with --control");
            }
            fs::remove_file(path).with_context(|| format!("cannot remove the stale {shown}"))?;
        }
        // The umask keeps the socket from others even for the moment between two calls.
        let before = umask(Mode::from_bits_truncate(0o117));
        let listener = UnixListener::bind(path);
        umask(before);
        let server = Self {
            listener: listener.with_context(|| {
                format!("cannot listen on {shown}; name another socket with --control")
            })?,
            path: path.to_owned(),
        };
        if let Some(group) = group {
            lchown(path, None, Some(group.as_raw()))
                .with_context(|| format!("cannot give {shown} to its group"))?;
        }
        Ok(server)
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, with all of /run.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the socket can be where it should be, as far as that can be seen without making it.
///
/// # Errors
///
/// If another user may change its folder, or something else is in its place.
pub(crate) fn judge(path: &Path) -> Result<()> {
    let shown = path.display();
    if let Some(folder) = path.parent()
        && (folder.exists() || folder.as_os_str().is_empty())
    {
        // Whoever may change it could put a socket of his own there, for root to speak to.
        TrustedFolder::follow(folder)
            .with_context(|| format!("the folder of the control socket {shown}"))?;
    }
    if let Ok(metadata) = fs::symlink_metadata(path)
        && !metadata.file_type().is_socket()
    {
        bail!("{shown} exists and is not a socket; remove it, or use another with --control");
    }
    Ok(())
}

/// Whether a daemon listens there. It does not wait for one whose backlog is full.
fn has_listener(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(false),
            io::ErrorKind::WouldBlock => Ok(true),
            _ => Err(error),
        },
    }
}

/// Creates a folder that everybody may list, whatever the umask. An existing one is left as it is.
fn make(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}
