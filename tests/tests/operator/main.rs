//! The operator's commands on the files.
//!
//! These tests need root, and the binary that `cargo xtask test` builds.

mod cfg;
mod ended;
mod pager;
mod power_cut;
mod ranges;
mod told;
mod traced;
mod writers;
