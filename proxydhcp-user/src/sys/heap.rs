//! The C library's heap.

/// Has the threads that are started from here on share few arenas of the C library's heap. Otherwise there may
/// be eight for each core, and each keeps what was last freed in it: what two requests at a time take
/// would be kept once for each thread that has ever had one.
pub(crate) fn share_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Returns free memory to the system. Loading a table takes ten times the memory of the table, and
/// the C library would keep most of it for the next load.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
