//! The runtime of commands that ask the system for something.

use anyhow::{Context, Result};
use tokio::runtime::Builder;

use crate::sys::descriptors;

/// Runs the future of a command. Questions that the resolver has not answered by its end are
/// abandoned.
///
/// # Errors
///
/// If the runtime cannot be started, mostly because too few files may be open.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    descriptors::provide()?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}
