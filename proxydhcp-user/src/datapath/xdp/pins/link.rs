//! Pinned links: what the kernel says of one, and detaching one at once. To remove its file would
//! detach it too, but the kernel takes its time over that, and whoever attaches next would find the
//! interface occupied.
//!
//! Safety: each call hands the kernel an attribute of this module, of the size that is told with it;
//! it reads and writes no more. What the attribute points to outlives the call, and is as large as
//! the attribute says.

use std::ffi::{CString, c_int, c_long};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

// Of `enum bpf_cmd` in `linux/bpf.h`.
const OBJ_GET: c_int = 7;
const OBJ_GET_INFO_BY_FD: c_int = 15;
const LINK_DETACH: c_int = 34;

/// Of `enum bpf_link_type`.
const LINK_TYPE_XDP: u32 = 6;

/// `union bpf_attr` of `OBJ_GET`.
#[repr(C)]
struct ObjGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr` of `OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct ObjGetInfo {
    fd: u32,
    len: u32,
    info: u64,
}

/// `union bpf_attr` of `LINK_DETACH` (Linux 5.9).
#[repr(C)]
struct LinkDetach {
    fd: u32,
}

/// The beginning of `struct bpf_link_info`.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    _padding: u32,
    interface: u32,
}

/// An XDP program's link.
pub(super) struct PinnedXdp(OwnedFd);

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The kernel's number for the link.
    pub(super) id: u32,
    /// That of the program.
    pub(super) program: u32,
    /// That of the interface, in whatever network namespace; `None` once that is gone.
    pub(super) interface: Option<u32>,
}

impl PinnedXdp {
    /// Opens the link that is pinned at `path`.
    ///
    /// # Errors
    ///
    /// The kernel's: there is no such file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut get = ObjGet {
            path: path.as_ptr().addr() as u64,
            fd: 0,
            flags: 0,
        };
        let fd = bpf(OBJ_GET, &mut get)?;
        let fd = c_int::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made it, for nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// What it holds; `None` where it is no XDP program's link.
    ///
    /// # Errors
    ///
    /// There is no memory for the answer.
    pub(super) fn held(&self) -> io::Result<Option<Held>> {
        let mut info = LinkInfo::default();
        let mut get = ObjGetInfo {
            fd: self.fd()?,
            len: size_of::<LinkInfo>().try_into().map_err(io::Error::other)?,
            info: ptr::from_mut(&mut info).addr() as u64,
        };
        bpf(OBJ_GET_INFO_BY_FD, &mut get)?;
        Ok((info.kind == LINK_TYPE_XDP).then_some(Held {
            id: info.id,
            program: info.program,
            interface: (info.interface != 0).then_some(info.interface),
        }))
    }

    /// Detaches it from its interface, whoever else holds it.
    ///
    /// # Errors
    ///
    /// It was attached by a kernel that cannot detach it (before Linux 5.9).
    pub(super) fn detach(&self) -> io::Result<()> {
        bpf(LINK_DETACH, &mut LinkDetach { fd: self.fd()? })?;
        Ok(())
    }

    fn fd(&self) -> io::Result<u32> {
        u32::try_from(self.0.as_raw_fd()).map_err(io::Error::other)
    }
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
