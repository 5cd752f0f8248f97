//! The C library's heap.

/// Returns free memory to the system. Loading a table takes ten times the memory of the table, and
/// the C library would keep most of it for the next load.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
