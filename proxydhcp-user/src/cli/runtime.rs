//! The runtime of commands that ask the system for something.

use anyhow::{Context, Result};
use tokio::runtime::Builder;

/// Does the work of a command. A question that the resolver has not answered by then is not waited for.
///
/// # Errors
///
/// The system has no descriptors for a runtime.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}
