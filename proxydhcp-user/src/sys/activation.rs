//! The socket that systemd passes, as in `sd_listen_fds(3)`.

use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result};

/// The TCP socket that systemd passes. Call it once.
///
/// # Errors
///
/// If there is none, or it is of another kind.
pub(crate) fn tcp_socket() -> Result<TcpListener> {
    let mut passed = sd_notify::listen_fds().context("cannot find the socket of systemd")?;
    let number = passed.next().context(
        "systemd passes no socket; start the socket unit first, whose Service= names this service",
    )?;
    // SAFETY: systemd has opened it for this process, as its LISTEN_PID says, and nobody else here uses
    // it: this is called once, and the daemon runs no other code of `sd_listen_fds`.
    let socket = TcpListener::from(unsafe { OwnedFd::from_raw_fd(number) });
    socket
        .local_addr()
        .context("the socket that systemd passes is none of TCP")?;
    Ok(socket)
}
