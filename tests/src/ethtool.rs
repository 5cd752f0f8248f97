//! The one ethtool request that the lab needs: generic receive offload on or off.
//!
//! rtnetlink has no message for it, and the ethtool program need not be installed.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};

/// Requests of `linux/ethtool.h`.
#[cfg(test)]
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;

/// `struct ethtool_value` of `linux/ethtool.h`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Turns generic receive offload of an interface of the *calling thread's* namespace on or off.
///
/// On a veth end this also turns NAPI on, without which the end takes no frames that its peer's
/// XDP program transmits or redirects to it.
pub(crate) fn set_gro(interface: &str, on: bool) -> Result<()> {
    request(interface, ETHTOOL_SGRO, u32::from(on)).map(drop)
}

/// Tells whether generic receive offload is on.
#[cfg(test)]
pub(crate) fn gro(interface: &str) -> Result<bool> {
    Ok(request(interface, ETHTOOL_GGRO, 0)? != 0)
}

fn request(interface: &str, command: u32, data: u32) -> Result<u32> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: an `ifreq` of zeros is valid: integers, and a union whose pointer is a null pointer.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        bail!("{interface}: an interface name has at most 15 characters");
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let mut value = EthtoolValue { command, data };
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the kernel reads `request` and reads and writes, through its pointer, `value`; both
    // outlive the call.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if outcome < 0 {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("generic receive offload of {interface}"));
    }
    Ok(value.data)
}
