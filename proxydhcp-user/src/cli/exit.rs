//! The exit codes of all commands, and how a command fails.

use std::process::{self, ExitCode};

use nix::errno::Errno;
use rustix::process::geteuid;

use crate::cli::settings::SettingsError;
use crate::daemon::http::WebConfigError;
use crate::sys::journal::{self, Priority};
use crate::text::{visible, with_causes};

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Done,
    /// Nothing was done, or the answer is no.
    Failed,
    /// It was done, except for some.
    Partly,
    /// `EX_USAGE` of sysexits.h.
    Usage,
    /// `EX_CONFIG` of sysexits.h.
    Settings,
}

/// The table of the manual.
pub(super) const TABLE: [(Exit, &str); 5] = [
    (
        Exit::Done,
        "Done. A check found nothing wrong; a client would be answered.",
    ),
    (
        Exit::Failed,
        "Not done, and stderr says why; or a check found errors, a client would not be answered, or a \
         node does not exist.",
    ),
    (
        Exit::Partly,
        "Done with exceptions: `reload` has put the files into service except for records that are \
         refused; `cfg check` or `check-dhcp` found warnings only; `status` found the daemon running \
         with the newest files not in service, or an interface not served; `wait` ended before all nodes \
         were there; `fleet status` or `fleet wait` found service nodes that do not serve what is in force.",
    ),
    (
        Exit::Usage,
        "The command line is wrong (EX_USAGE of sysexits.h).",
    ),
    (
        Exit::Settings,
        "The settings file is wrong, or the one named is missing (EX_CONFIG of sysexits.h). The \
         systemd unit does not restart the daemon then.",
    ),
];

impl Exit {
    /// Its number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Partly => 2,
            Self::Usage => 64,
            Self::Settings => 78,
        }
    }

    /// How a command ends with this error.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        if error.is::<SettingsError>() || error.is::<WebConfigError>() {
            Self::Settings
        } else {
            Self::Failed
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Prints why a command failed, and returns its exit code.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!(
        "{}",
        journal::for_stderr(Priority::Error, &visible(&last_line(error)))
    );
    Exit::of(error).into()
}

/// The last line of a command that fails, with the remedy where only root may do what was tried.
pub(super) fn last_line(error: &anyhow::Error) -> String {
    let told = with_causes(error);
    let remedy = if is_for_root(error) && !told.contains("sudo") {
        "; run it with sudo"
    } else {
        ""
    };
    format!("proxydhcp: {told}{remedy}")
}

/// Ends the process as clap would, with exit codes of our own.
pub(super) fn end(error: &clap::Error) -> ! {
    let _ = error.print();
    let exit = if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    };
    process::exit(exit.code().into())
}

/// Whether the system has refused something to this process, which is not root's.
fn is_for_root(error: &anyhow::Error) -> bool {
    let number = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        let io = io.and_then(std::io::Error::raw_os_error);
        io.or_else(|| cause.downcast_ref::<Errno>().map(|errno| *errno as i32))
    };
    let forbidden = [Errno::EPERM as i32, Errno::EACCES as i32];
    let mut numbers = error.chain().filter_map(number);
    !geteuid().is_root() && numbers.any(|number| forbidden.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_the_same_table() {
        let manual = include_str!("../../../docs/commands.md");
        for (exit, meaning) in TABLE {
            let row = format!("| {} | {meaning} |", exit.code());
            assert!(
                manual.contains(&row),
                "docs/commands.md lacks this row: {row}"
            );
        }
    }
}
