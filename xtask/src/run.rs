//! `cargo xtask run`: runs the daemon built from the tree, or the demo.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use proxydhcp_lab::require_rights;

use crate::workspace::root;
use crate::{binary, demo};

/// Builds the daemon and runs it, demonstrates it with a storm of 1,000 simulated clients, or boots
/// virtual machines by it.
///
/// The build runs as the caller; only what is built runs as root, through sudo if necessary.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask run -- -i eth1 --config /etc/xcat/proxydhcp.cfg
  cargo xtask run --boot
  cargo xtask run --boot uefi
  cargo xtask run --demo
  cargo xtask run --demo -- --path raw")]
pub(crate) struct Arguments {
    /// Starts the daemon in private network namespaces and lets 1,000 nodes boot at once. Touches
    /// no interface of this machine and leaves nothing behind.
    #[arg(long)]
    demo: bool,

    /// Boots a virtual machine with this firmware, or one with each: docs/first-boot.sh, which shows their
    /// consoles. All of it is in private network namespaces, and gone at the end.
    #[arg(
        long,
        value_name = "FIRMWARE",
        num_args = 0..=1,
        default_missing_value = "both",
        conflicts_with_all = ["demo", "serve"]
    )]
    boot: Option<Firmware>,

    /// Shows the demo with this daemon, which has been built.
    #[arg(long, hide = true, requires = "demo")]
    built: Option<PathBuf>,

    /// Arguments for `proxydhcp serve`.
    #[arg(last = true, value_name = "SERVE ARGS")]
    serve: Vec<OsString>,
}

/// The firmware of the virtual machines.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Firmware {
    Bios,
    Uefi,
    /// One machine with each
    Both,
}

/// Runs docs/first-boot.sh.
fn boot(firmware: Firmware) -> Result<ExitCode> {
    let binary = binary::build_quickly()?;
    let script = root().join("docs/first-boot.sh");
    let mut command = as_root(Path::new("env"));
    command
        .arg(format!("PROXYDHCP_BIN={}", binary.display()))
        .arg(script)
        .args(match firmware {
            Firmware::Bios => vec!["bios"],
            Firmware::Uefi => vec!["uefi"],
            Firmware::Both => vec![],
        });
    Err(command.exec()).context("cannot start docs/first-boot.sh")
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(built) = &arguments.built {
        return demo::run(built, &arguments.serve);
    }
    if let Some(firmware) = arguments.boot {
        return boot(firmware);
    }
    if arguments.demo {
        eprintln!("==> building the daemon: about a minute on two cores, the first time");
    }
    let binary = if arguments.demo {
        binary::build_quickly()?
    } else {
        binary::build()?
    };
    let mut command = if arguments.demo {
        if require_rights().is_ok() {
            return demo::run(&binary, &arguments.serve);
        }
        let mut demo = as_root(&env::current_exe()?);
        demo.args(["run", "--demo", "--built"])
            .arg(binary)
            .arg("--");
        demo
    } else {
        let mut serve = as_root(&binary);
        serve.arg("serve");
        serve
    };
    command.args(&arguments.serve);
    let program = command.get_program().to_os_string();
    Err(command.exec()).with_context(|| format!("cannot start {}", program.display()))
}

/// A command that runs as root, through sudo if necessary.
fn as_root(program: &Path) -> Command {
    if require_rights().is_ok() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg("--").arg(program);
    sudo
}
