//! Prints the output of commands.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write, stdout};
use std::process::{Command, Stdio};

use nix::sys::signal::{SigSet, Signal};

use crate::text::visible;

/// Prints text with one newline at its end. A closed pipe is no error, because the reader may have
/// read enough. Colours go to a terminal only, and never with `NO_COLOR`.
pub(super) fn print(text: &str) {
    let _ = writeln!(anstream::stdout(), "{}", visible(text.trim_end()));
}

/// Prints a line at once. Returns false if nobody reads it any more.
pub(super) fn print_line(line: &str) -> bool {
    let mut stdout = anstream::stdout();
    let written = writeln!(stdout, "{}", visible(line));
    written.and_then(|()| stdout.flush()).is_ok()
}

/// Prints a message to stderr, which may have no reader.
pub(crate) fn note(text: &str) {
    if !text.is_empty() {
        let _ = writeln!(anstream::stderr(), "{}", visible(text.trim_end()));
    }
}

/// Prints a text that may be long: on a terminal through a pager, as git does. `PAGER` names the
/// pager; if it is empty or `cat`, there is none.
pub(super) fn page(text: &str) {
    let shown = stdout().is_terminal() && by_pager(text).unwrap_or_default();
    if !shown {
        print(text);
    }
}

/// Shows the text in a pager; false if the pager could not be run.
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
        // A text that fits the screen is simply printed, and the screen is not cleared at the end.
        command.env("LESS", "FRX");
    }
    // A user who may run this command with sudo must not get a shell from within less.
    command.env("LESSSECURE", "1");
    let mut pager = command.stdin(Stdio::piped()).spawn()?;
    // Ctrl-C belongs to the pager, which must not lose its parent while it has the terminal.
    let _ = SigSet::from(Signal::SIGINT).thread_block();
    if let Some(mut stdin) = pager.stdin.take() {
        // The user may quit the pager early.
        let _ = writeln!(stdin, "{}", visible(text.trim_end()));
    }
    // 126 and 127 mean that the shell could not execute the pager or did not find it.
    Ok(!matches!(pager.wait()?.code(), Some(126 | 127)))
}
