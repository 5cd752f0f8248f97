//! Requests and their replies, in private networks: the real daemon, its XDP program in the real
//! kernel, and clients that are one network cable away.
//!
//! These tests need root, and the binary that `cargo xtask test` builds.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by what they say"
)]

mod accepted;
mod addresses;
mod agreement;
mod captures;
mod discovers;
mod exchange;
mod golden;
mod limits;
mod passing;
mod refusals;
mod replies;
mod silence;
mod sizes;
mod slow_path;
mod slow_path_refusals;
mod vlan;
