//! An XDP program that passes every frame on.
//!
//! A veth end takes the frames that its peer's XDP program transmits only if it has an XDP program
//! itself: without one they lie in its ring until something else wakes it.

use std::os::fd::OwnedFd;

use anyhow::Result;

use crate::Namespace;
use crate::xdp::{self, action, verdict};

/// Attaches the program to an interface, until the returned link is dropped.
pub(crate) fn attach(namespace: &Namespace, interface: &str) -> Result<OwnedFd> {
    let program = xdp::load(&verdict(action::PASS))?;
    xdp::attach(namespace, interface, program)
}
