//! The commands: their output, their effects on the files, and how a running daemon takes these up.
//!
//! These tests need root, and the binary that `cargo xtask test` builds.

mod bcd;
mod bcd_readers;
mod cfg;
mod check_dhcp;
mod command_line;
mod completions;
mod follow;
mod lookup;
mod node;
mod node_files;
mod node_new;
mod node_prune;
mod not_root;
mod pager;
mod power_cut;
mod probe;
mod ranges;
mod serve_check;
mod signed;
mod status;
mod take_up;
mod top;
mod traced;
mod winpe_create;
mod winpe_cut;
mod winpe_place;
mod winpe_refused;
mod winpe_rm;
mod winpe_warnings;
mod writers;

use std::process::Command;

/// `winpe bcd write`, but for the file that it writes.
fn bcd_write(firmware: &str, image: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(proxydhcp_lab::binary()?);
    command.args(["winpe", "bcd", "write", "--firmware", firmware]);
    command.args(["--image", image]);
    Ok(command)
}
