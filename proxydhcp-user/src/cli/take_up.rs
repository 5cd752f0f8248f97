//! Telling the daemon that its files have changed.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::api::client::{NoDaemon, brief_status, reload};
use crate::api::status::Reloaded;
use crate::cli::output::{note, print};
use crate::text::count;

/// Whose problems are told of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of<'a> {
    /// All nodes'.
    All,
    /// Those of the nodes of these names.
    These(&'a [String]),
}

/// Has a running daemon take up `config`, which a command has just written, and reports the outcome:
/// on stdout what is in service now, on stderr what is wrong with it, or that no daemon runs, or
/// that the daemon serves another file. None of these is an error.
///
/// # Errors
///
/// The daemon rejects its files, or cannot be asked. The file stays as it was written.
pub(crate) fn take_up(socket: &Path, config: &Path, allow_empty: bool, of: Of<'_>) -> Result<()> {
    match reload_with(socket, config, allow_empty) {
        Ok(None) => {}
        Ok(Some(reloaded)) => {
            note(&problems(&reloaded, of));
            print(&format!(
                "in service: generation {}, {}",
                reloaded.generation,
                count(reloaded.nodes, "node")
            ));
        }
        Err(error) if error.is::<NoDaemon>() => note(&format!(
            "no daemon listens on {}; the file is read at its next start",
            socket.display()
        )),
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "{} is written, but the daemon has not taken it up",
                    config.display()
                )
            });
        }
    }
    Ok(())
}

/// What the daemon has reloaded, if `config` is its file.
fn reload_with(socket: &Path, config: &Path, allow_empty: bool) -> Result<Option<Reloaded>> {
    if let Some(other) = serves_another(socket, config)? {
        note(&format!("the daemon was not reloaded: it serves {other}"));
        return Ok(None);
    }
    reload(socket, allow_empty).map(Some)
}

fn problems(reloaded: &Reloaded, of: Of<'_>) -> String {
    let Of::These(names) = of else {
        return reloaded.problems().to_string();
    };
    let names: HashSet<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let of_these = |name: &str| names.contains(&name.to_ascii_lowercase());
    reloaded.names.clone().only(of_these).to_string()
}

/// The file that the daemon serves, if it surely is another than `config`.
fn serves_another(socket: &Path, config: &Path) -> Result<Option<String>> {
    let served = brief_status(socket)?.config;
    // What is relative to the daemon's folder is not known here.
    if served.is_relative() {
        return Ok(None);
    }
    let same = match (fs::canonicalize(&served), fs::canonicalize(config)) {
        (Ok(served), Ok(config)) => served == config,
        _ => served == config,
    };
    Ok((!same).then(|| served.display().to_string()))
}
