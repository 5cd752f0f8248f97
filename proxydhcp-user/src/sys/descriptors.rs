//! The number of files, sockets and maps that this process may have open.

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a daemon without interfaces opens, with room to spare. Below it, libraries panic where they
/// cannot open what they live on.
const LEAST: u64 = 64;

/// Lets this process open as many as the system permits, and returns their number.
///
/// # Errors
///
/// If there are too few for any command.
pub(crate) fn provide() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if files < LEAST {
        bail!(
            "this process may open only {files} files, of the {LEAST} that it needs: raise `ulimit -n` \
             (LimitNOFILE= of a systemd unit)"
        );
    }
    Ok(files)
}
