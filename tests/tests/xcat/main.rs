//! The daemon in place of xCAT's own, on a management node: called by xCAT's name, at xCAT's paths,
//! and signalled as xCAT does it.
//!
//! These tests need root, the binary that `cargo xtask test` builds, and of Debian the packages
//! procps, perl-base, util-linux, systemd and rsyslog, which they install where that is possible.

mod agree;
mod faults;
mod flags;
mod node;
mod rename;
mod sequence;
mod service;
mod start;
mod stream;
mod sync;
mod syslog;
mod tables;
