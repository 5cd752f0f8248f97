//! Detaches a pinned link at once. Removing its file would detach it too, but only some time later,
//! and meanwhile the next program would find the interface occupied.
//!
//! Safety: both calls pass the kernel a structure of this module with its size, and the kernel
//! reads no more than that. The path inside outlives the call.

use std::ffi::{CString, c_int, c_long};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

// From `enum bpf_cmd` in `linux/bpf.h`.
const OBJ_GET: c_int = 7;
const LINK_DETACH: c_int = 34;

/// `union bpf_attr` for `OBJ_GET`.
#[repr(C)]
struct ObjGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr` for `LINK_DETACH` (Linux 5.9).
#[repr(C)]
struct LinkDetach {
    fd: u32,
}

/// Detaches the link that is pinned at `path` from its interface, even if other processes hold the
/// link.
///
/// # Errors
///
/// If there is no such file, it is not a link, or the kernel refuses to detach it.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut get = ObjGet {
        path: path.as_ptr().addr() as u64,
        fd: 0,
        flags: 0,
    };
    let fd = bpf(OBJ_GET, &mut get)?;
    // SAFETY: the kernel has just created it for this process.
    let link = unsafe { OwnedFd::from_raw_fd(c_int::try_from(fd).map_err(io::Error::other)?) };
    let fd = u32::try_from(link.as_raw_fd()).map_err(io::Error::other)?;
    bpf(LINK_DETACH, &mut LinkDetach { fd })?;
    Ok(())
}

fn bpf<T>(command: c_int, attributes: &mut T) -> io::Result<c_long> {
    // SAFETY: see the module.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            c_long::from(command),
            ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
