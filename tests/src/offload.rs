//! The work that a network interface takes over from the network stack, as ethtool sets it.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketType, socket};

use crate::Namespace;

/// What can be set.
#[derive(Clone, Copy, Debug)]
pub enum Offload {
    /// Received packets are put together. A veth end that does so has a queue of its own for what
    /// comes in, takes what XDP redirects to it, and needs no XDP program for that (Linux 5.13).
    Receive,
    /// Long segments are cut late. A veth end that does so passes by the other's queue.
    Segmentation,
}

/// `struct ethtool_value` of `linux/ethtool.h`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Sets one of an interface's offloads.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn set(namespace: &Namespace, interface: &str, offload: Offload, on: bool) -> Result<()> {
    const SET_TSO: u32 = 0x1f;
    const SET_GRO: u32 = 0x2c;
    let mut value = Value {
        command: match offload {
            Offload::Receive => SET_GRO,
            Offload::Segmentation => SET_TSO,
        },
        data: on.into(),
    };
    // SAFETY: an `ifreq` is integers and a pointer; zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = interface.as_bytes();
    ensure!(name.len() < request.ifr_name.len(), "a name too long");
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = ptr::from_mut(&mut value).cast();
    let any = namespace.run(|| Ok(socket(AddressFamily::INET, SocketType::DGRAM, None)?))?;
    // SAFETY: the kernel reads and writes the request and the value that it points at, which both
    // outlive the call and are as long as this command has them.
    let outcome = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if outcome >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // What there is not is off.
        error if !on && error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        error => Err(error).with_context(|| format!("cannot set an offload of {interface}")),
    }
}
