//! `cargo xtask run`: runs the daemon built from the tree, or the demo.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use proxydhcp_lab::require_rights;

use crate::{binary, demo};

/// Builds the daemon and runs it, or demonstrates it with a storm of 1,000 simulated clients.
///
/// The build runs as the caller; only the daemon itself runs as root, through sudo if necessary.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask run -- -i eth1 --config /etc/xcat/proxydhcp.cfg
  sudo cargo xtask run --demo
  sudo cargo xtask run --demo -- --path raw")]
pub(crate) struct Arguments {
    /// Starts the daemon in private network namespaces and lets 1,000 nodes boot at once. Needs
    /// root, touches no interface of this machine and leaves nothing behind.
    #[arg(long)]
    demo: bool,

    /// Arguments for `proxydhcp serve`.
    #[arg(last = true, value_name = "SERVE ARGS")]
    serve: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.demo {
        return demo::run(&arguments.serve);
    }
    let binary = binary::build()?;
    let mut command = if require_rights().is_ok() {
        Command::new(binary)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(binary);
        sudo
    };
    command.arg("serve").args(&arguments.serve);
    let program = command.get_program().to_os_string();
    Err(command.exec()).with_context(|| format!("cannot start {}", program.display()))
}
