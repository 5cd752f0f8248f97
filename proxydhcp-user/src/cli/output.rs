//! What commands print.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write, stdout};
use std::process::{Command, Stdio};

use nix::sys::signal::{SigSet, Signal};

/// Prints text with one newline at its end. Whoever reads it may have read enough: a closed pipe is
/// no error. Colours come to a terminal only, and never with `NO_COLOR`.
pub(super) fn print(text: &str) {
    let _ = writeln!(anstream::stdout(), "{}", text.trim_end());
}

/// Prints a message to the people at the terminal, if there is any. Nobody may be reading.
pub(crate) fn note(text: &str) {
    if !text.is_empty() {
        let _ = writeln!(anstream::stderr(), "{}", text.trim_end());
    }
}

/// Prints a text that may be long: on a terminal by a pager, as git does. `PAGER` names it; empty,
/// or `cat`, it is none.
pub(super) fn page(text: &str) {
    let shown = stdout().is_terminal() && by_pager(text).unwrap_or_default();
    if !shown {
        print(text);
    }
}

/// Whether a pager has shown it.
fn by_pager(text: &str) -> io::Result<bool> {
    let mut command = match env::var_os("PAGER") {
        Some(pager) if pager.is_empty() || pager == "cat" => return Ok(false),
        Some(pager) => {
            let mut shell = Command::new("sh");
            shell.args([OsStr::new("-c"), &pager]);
            shell
        }
        None => Command::new("less"),
    };
    if env::var_os("LESS").is_none() {
        // A text that fits the screen is only printed, and none is wiped off at the end.
        command.env("LESS", "FRX");
    }
    // Who may run this command by sudo may not therefore run a shell from within less.
    command.env("LESSSECURE", "1");
    let mut pager = command.stdin(Stdio::piped()).spawn()?;
    // Ctrl-C means something to the pager, which would be left alone with the terminal.
    let _ = SigSet::from(Signal::SIGINT).thread_block();
    if let Some(mut stdin) = pager.stdin.take() {
        // Its reader may have read enough.
        let _ = writeln!(stdin, "{}", text.trim_end());
    }
    // The shell has not found it, or may not run it.
    Ok(!matches!(pager.wait()?.code(), Some(126 | 127)))
}
