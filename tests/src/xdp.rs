//! XDP programs of a few instructions, written by hand: the lab needs no BPF toolchain.

use std::ffi::{CString, c_int, c_long};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

use crate::Namespace;

// Of `linux/bpf.h`.
const PROG_LOAD: c_int = 5;
const OBJ_GET: c_int = 7;
const PROG_TEST_RUN: c_int = 10;
const LINK_CREATE: c_int = 28;
const LINK_DETACH: c_int = 34;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
static LICENSE: &[u8; 4] = b"GPL\0";

/// The verdicts of an XDP program.
pub mod action {
    /// It goes no further.
    pub const DROP: i32 = 1;
    /// The network stack takes it.
    pub const PASS: i32 = 2;
    /// It goes back out.
    pub const TX: i32 = 3;
}

/// One `struct bpf_insn`: operation code, destination and source register, offset, constant.
pub const fn instruction(code: u8, to: u8, from: u8, offset: i16, constant: i32) -> u64 {
    let [offset_low, offset_high] = offset.to_ne_bytes();
    let [a, b, c, d] = constant.to_ne_bytes();
    let registers = from << 4 | to;
    u64::from_ne_bytes([code, registers, offset_low, offset_high, a, b, c, d])
}

/// `exit` with this action.
pub const fn verdict(action: i32) -> [u64; 2] {
    const MOVE: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    [
        instruction(MOVE, 0, 0, 0, action),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

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

/// The part of `union bpf_attr` that runs one on a frame in memory.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    verdict: u32,
    length_in: u32,
    length_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    nanoseconds: u32,
    context_length_in: u32,
    context_length_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    core: u32,
    batch: u32,
    padding: u32,
}

/// Loads a program.
///
/// # Errors
/// When the kernel refuses it.
pub fn load(instructions: &[u64]) -> Result<OwnedFd> {
    let load = Load {
        kind: PROG_TYPE_XDP,
        instruction_count: u32::try_from(instructions.len())?,
        instructions: instructions.as_ptr().addr() as u64,
        license: LICENSE.as_ptr().addr() as u64,
        rest: [0; 4],
    };
    bpf_descriptor(PROG_LOAD, load).context("cannot load a small XDP program")
}

/// Attaches a program in the driver, until the returned link is dropped.
///
/// # Errors
/// When there is no such interface, or another program holds it.
pub fn attach(
    namespace: &Namespace,
    interface: &str,
    program: impl AsFd + Sync,
) -> Result<OwnedFd> {
    namespace.run(|| {
        let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let attach = Attach {
            program: program.as_fd().as_raw_fd().unsigned_abs(),
            interface: name_to_index(any, interface)
                .with_context(|| format!("there is no interface {interface}"))?,
            kind: ATTACH_TYPE_XDP,
            flags: XDP_FLAGS_DRV_MODE,
            rest: [0; 4],
        };
        bpf_descriptor(LINK_CREATE, attach)
            .with_context(|| format!("cannot attach an XDP program to {interface}"))
    })
}

/// The part of `union bpf_attr` that opens what is pinned.
#[repr(C)]
struct Get {
    path: u64,
    rest: [u64; 2],
}

/// Detaches the program of the link that is pinned at `path`, as `bpftool link detach` does.
///
/// # Errors
/// When no link is pinned there.
pub fn detach_pinned(path: &Path) -> Result<()> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    let get = Get {
        path: text.as_ptr().addr() as u64,
        rest: [0; 2],
    };
    let detach = || {
        let link = bpf_descriptor(OBJ_GET, get)?;
        bpf(LINK_DETACH, &mut link.as_raw_fd().unsigned_abs())
    };
    detach().with_context(|| format!("cannot detach {}", path.display()))?;
    Ok(())
}

/// The number of the interface that a frame in memory comes in by: the loopback's.
pub const INTERFACE: u32 = 1;

/// One run of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it said of the frame.
    pub action: i32,
    /// How long the frame is now.
    pub length: usize,
    /// How long it took, by the kernel's clock, which takes some of that time itself.
    pub took: Duration,
}

/// Runs a program once on a copy of `frame` and writes what becomes of it to `out`.
///
/// The kernel could repeat the run by itself, but would give each run the output of the last.
///
/// # Errors
/// When the kernel does not run it, or `out` is too short.
pub fn run(program: BorrowedFd, frame: &[u8], out: &mut [u8]) -> Result<Run> {
    let mut run = TestRun {
        program: program.as_raw_fd().unsigned_abs(),
        length_in: u32::try_from(frame.len())?,
        length_out: u32::try_from(out.len())?,
        data_in: frame.as_ptr().addr() as u64,
        data_out: out.as_mut_ptr().addr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    bpf(PROG_TEST_RUN, &mut run).context("cannot run an XDP program on a frame")?;
    Ok(Run {
        action: run.verdict.cast_signed(),
        length: run.length_out as usize,
        took: Duration::from_nanos(run.nanoseconds.into()),
    })
}

/// Runs a program `count` times, each time on a frame that begins as `frame`, and really does what
/// it says: a program that redirects is the kernel's fastest sender of frames (Linux 5.18).
/// Interface numbers are those of the calling thread's namespace.
///
/// # Errors
/// When the kernel does not know of this, or a signal comes.
pub fn run_live(program: BorrowedFd, frame: &[u8], count: u32) -> Result<()> {
    const LIVE_FRAMES: u32 = 1 << 1;
    /// As many as a driver hands to the network stack at once.
    const BATCH: u32 = 64;
    let mut run = TestRun {
        program: program.as_raw_fd().unsigned_abs(),
        length_in: u32::try_from(frame.len())?,
        data_in: frame.as_ptr().addr() as u64,
        repeat: count,
        flags: LIVE_FRAMES,
        batch: BATCH,
        ..TestRun::default()
    };
    bpf(PROG_TEST_RUN, &mut run).context("cannot send frames by an XDP program")?;
    Ok(())
}

fn bpf<T>(command: c_int, attributes: &mut T) -> io::Result<c_long> {
    // SAFETY: the kernel reads and writes as many bytes of the attributes as they have. The
    // addresses among them are of buffers with the lengths beside them, which outlive the call.
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

fn bpf_descriptor<T>(command: c_int, mut attributes: T) -> io::Result<OwnedFd> {
    let descriptor = bpf(command, &mut attributes)?;
    let descriptor = c_int::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: these commands return a new descriptor, which is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_its_verdict_and_leaves_the_frame() {
        let drops = load(&verdict(action::DROP)).unwrap();
        let mut out = [0; 64];
        let run = run(drops.as_fd(), &[7; 60], &mut out).unwrap();
        assert_eq!((run.action, run.length), (action::DROP, 60));
        assert_eq!(out[..60], [7; 60]);
        assert!(run.took < Duration::from_millis(100));
    }
}
