//! An XDP program that passes every frame on.
//!
//! A veth end takes the frames that its peer's XDP program transmits only if it has an XDP program
//! itself: without one they lie in its ring until something else wakes it.

use std::ffi::{c_int, c_long};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use anyhow::{Context, Result};

// Of `linux/bpf.h`.
const PROG_LOAD: c_int = 5;
const LINK_CREATE: c_int = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// `r0 = XDP_PASS; exit`, each an instruction of `struct bpf_insn`.
static PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
static LICENSE: &[u8; 4] = b"GPL\0";

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    rest: [u64; 4],
}

/// The part of `union bpf_attr` that attaches one to an interface.
#[repr(C)]
struct Attach {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
    rest: [u64; 4],
}

/// Attaches the program to an interface of the *calling thread's* namespace, until the returned
/// link is dropped.
pub(crate) fn attach(interface: &str) -> Result<OwnedFd> {
    let index = rustix::net::netdevice::name_to_index(
        rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::DGRAM,
            None,
        )?,
        interface,
    )
    .with_context(|| format!("there is no interface {interface}"))?;
    let load = Load {
        kind: PROG_TYPE_XDP,
        instruction_count: 2,
        instructions: PASS.as_ptr().addr() as u64,
        license: LICENSE.as_ptr().addr() as u64,
        rest: [0; 4],
    };
    let program = bpf(PROG_LOAD, &load).context("cannot load an XDP program that passes all")?;
    let attach = Attach {
        program: program.as_raw_fd().unsigned_abs(),
        interface: index,
        kind: ATTACH_TYPE_XDP,
        flags: XDP_FLAGS_DRV_MODE,
        rest: [0; 4],
    };
    bpf(LINK_CREATE, &attach)
        .with_context(|| format!("cannot attach an XDP program to {interface}"))
}

fn bpf<T>(command: c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes of the attributes as they have; the addresses among
    // them are those of statics.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            c_long::from(command),
            ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    let fd = c_int::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands return a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
