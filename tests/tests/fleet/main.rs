//! Nodes that come from etcd, with real members.
//!
//! These tests need root, and the binary that `cargo xtask test` builds.

mod bad;
mod clock;
mod fleet;
mod outage;
mod pages;
mod parted;
mod pushing;
mod range;
mod segment;
mod settings;
mod vip;
mod writers;
