//! Makes the daemon read the files that a command has changed.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::api::client::{NoDaemon, brief_status, reload};
use crate::api::control::Allowed;
use crate::api::status::Reloaded;
use crate::cli::output::{note, print};
use crate::text::count;

/// Selects whose problems are reported.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of<'a> {
    /// Those of all nodes.
    All,
    /// Those of the nodes with these names.
    These(&'a [String]),
}

/// Makes a running daemon read `config`, which a command has just written, and reports the outcome.
/// What is in service now goes to stdout. What is wrong with it goes to stderr, as does the note
/// that no daemon runs or that it serves another file. None of these is an error.
///
/// # Errors
///
/// If the daemon rejects its files or cannot be asked. The file stays as it was written.
pub(crate) fn take_up(socket: &Path, config: &Path, allowed: Allowed, of: Of<'_>) -> Result<()> {
    match reload_with(socket, config, allowed) {
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

/// Reloads the daemon if `config` is its file.
fn reload_with(socket: &Path, config: &Path, allowed: Allowed) -> Result<Option<Reloaded>> {
    if let Some(other) = serves_another(socket, config)? {
        note(&format!("the daemon was not reloaded: it serves {other}"));
        return Ok(None);
    }
    reload(socket, allowed).map(Some)
}

fn problems(reloaded: &Reloaded, of: Of<'_>) -> String {
    let Of::These(names) = of else {
        return reloaded.problems().to_string();
    };
    let names: HashSet<_> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let of_these = |name: &str| names.contains(&name.to_ascii_lowercase());
    reloaded.names.clone().only(of_these).to_string()
}

/// The file that the daemon serves, if it is certainly not `config`.
fn serves_another(socket: &Path, config: &Path) -> Result<Option<String>> {
    let served = brief_status(socket)?.config;
    // A path relative to the daemon's working directory cannot be resolved here.
    if served.is_relative() {
        return Ok(None);
    }
    let same = match (fs::canonicalize(&served), fs::canonicalize(config)) {
        (Ok(served), Ok(config)) => served == config,
        _ => served == config,
    };
    Ok((!same).then(|| served.display().to_string()))
}
