//! `proxydhcp detach`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::output::print;
use crate::cli::runtime::block_on;
use crate::datapath::xdp::pins::{self, PinsError};
use crate::sys::interface;

/// Removes what killed daemons have left from the kernel, and prints a line for each interface.
///
/// # Errors
///
/// If a daemon runs, the interfaces cannot be listed, or something pinned cannot be removed.
pub(super) fn run() -> Result<ExitCode> {
    let mut anything = false;
    let cleared = block_on(async {
        let all = interface::list().await?;
        let tell = |told: &str| {
            anything = true;
            print(&format!("{told}\n"));
        };
        anyhow::Ok(pins::clear(&all, tell).await)
    })??;
    match cleared {
        Err(PinsError::Held | PinsError::Twin) => {
            bail!("a daemon is running; stop it, which removes everything")
        }
        Err(error) => return Err(error.into()),
        Ok(()) if anything => {}
        Ok(()) => print("nothing is left of a killed daemon\n"),
    }
    Ok(ExitCode::SUCCESS)
}
