//! Interfaces that stand on others: bridges, bonds, teams, VLANs, macvlans, ipvlans.
//!
//! These tests need root, and the binary that `cargo xtask test` builds. Those of interfaces that not
//! every kernel has are ignored but where `cargo xtask test kernels` runs them, in guests whose kernel
//! has them all.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by what they say"
)]

mod covered;
mod served;
