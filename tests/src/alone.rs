//! Tests that measure take turns.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for its turn. The guard is held by a test that loads the machine or reads a clock, so that
/// no other such test of its suite disturbs it.
pub fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    // A test that failed has left nothing behind that matters here.
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
