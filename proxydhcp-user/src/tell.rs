//! Telling the daemon that its files have changed.

use std::fs;
use std::io::{Write, stderr};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::control::{NoDaemon, Reply, Request, ask};
use crate::status::Reloaded;

/// Has the daemon read its files again.
///
/// # Errors
///
/// No daemon listens there; the files are rejected, and what was in service stays.
pub fn reload(socket: &Path, allow_empty: bool) -> Result<Reloaded> {
    match ask(socket, &Request::Reload { allow_empty })? {
        Reply::Reloaded(reloaded) => Ok(*reloaded),
        Reply::Rejected(reason) => bail!("not reloaded: {reason}"),
        Reply::Status(_) | Reply::Looked(_) => bail!("the daemon is of another version"),
    }
}

/// Has a running daemon take up `config`, which a command has just written, and tells on stderr what
/// came of it. It is no error that none runs, or that the one that runs serves another file: stderr
/// tells.
///
/// # Errors
///
/// The daemon rejects its files, or cannot be asked. The file stays as it was written.
pub fn tell(socket: &Path, config: &Path, allow_empty: bool) -> Result<()> {
    let told = || -> Result<String> {
        if let Some(other) = serves_another(socket, config)? {
            return Ok(format!("the daemon was not told: it serves {other}"));
        }
        let reloaded = reload(socket, allow_empty)?;
        Ok(format!("the daemon has reloaded: {reloaded}"))
    };
    let message = match told() {
        Err(error) => match error.downcast::<NoDaemon>() {
            Ok(NoDaemon(socket)) => format!(
                "no daemon listens on {}; the next to start reads the file",
                socket.display()
            ),
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "{} is written, but the daemon has not taken it up",
                        config.display()
                    )
                });
            }
        },
        told => told?,
    };
    // Nobody may be reading.
    let _ = writeln!(stderr(), "{}", message.trim_end());
    Ok(())
}

/// The file that the daemon serves, if it surely is another than `config`.
fn serves_another(socket: &Path, config: &Path) -> Result<Option<String>> {
    let Reply::Status(status) = ask(socket, &Request::Status)? else {
        bail!("the daemon is of another version");
    };
    let served = &status.config;
    // What is relative to the daemon's folder is not known here.
    if served.is_relative() {
        return Ok(None);
    }
    let same = match (fs::canonicalize(served), fs::canonicalize(config)) {
        (Ok(served), Ok(config)) => served == config,
        _ => served == config,
    };
    Ok((!same).then(|| served.display().to_string()))
}
