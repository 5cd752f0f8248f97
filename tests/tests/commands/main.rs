//! The commands: what they print, what they do to the files, and what a running daemon makes of it.
//!
//! These tests need root, and the binary that `cargo xtask test` builds.

mod cfg;
mod command_line;
mod lookup;
mod node;
mod node_files;
mod node_prune;
mod pager;
mod power_cut;
mod probe;
mod ranges;
mod status;
mod take_up;
mod traced;
mod writers;
