//! The C library's heap.

/// What is at least as large is taken from the system for itself, in bytes.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 1 << 20;

/// Has the threads that are started from here on share few arenas of the C library's heap. Otherwise there may
/// be eight for each core, and each keeps what was last freed in it: what two requests at a time take
/// would be kept once for each thread that has ever had one.
///
/// What is large goes back to the system as soon as it is freed. Otherwise, once a large file was read,
/// the next ones would be read into an arena: it keeps up to 64 MiB at its end, which [`give_back`] leaves there.
pub(crate) fn settle() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
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
