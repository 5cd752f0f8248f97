//! The C library's heap.

/// Gives memory that is free back to the system. Loading a table takes ten times what the table
/// does, and the C library would keep most of it for the next load.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
