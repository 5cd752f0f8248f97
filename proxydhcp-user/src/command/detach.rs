//! `proxydhcp detach`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tokio::runtime::Builder;

use crate::interface;
use crate::output::print;
use crate::pins::{Pins, PinsError};

/// Takes what daemons that were killed have left out of the kernel, and tells of each interface.
///
/// # Errors
///
/// A daemon runs; the system's.
pub fn detach() -> Result<ExitCode> {
    let pins = match Pins::take() {
        Ok(pins) => pins,
        Err(PinsError::NoBpfFs) => {
            print("nothing is left of a killed daemon\n");
            return Ok(ExitCode::SUCCESS);
        }
        Err(PinsError::Held) => bail!("a daemon runs; stop it, and it takes everything with it"),
        Err(error) => return Err(error.into()),
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let all = runtime.block_on(interface::list())?;
    let remainders = pins.remainders().context("cannot read what is pinned")?;
    if remainders.is_empty() {
        print("nothing is left of a killed daemon\n");
    }
    for remainder in remainders {
        let what = remainder.describe(&all);
        remainder.remove().with_context(|| what.clone())?;
        print(&format!("{what}: removed\n"));
    }
    Ok(ExitCode::SUCCESS)
}
