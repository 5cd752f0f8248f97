//! Runs another program for its output, and never waits for it longer than agreed.
//!
//! It starts no thread, so the daemon may use it before it drops its privileges.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The most bytes of output that are read.
const LIMIT: usize = 256 << 20;
/// The pause before a program that has closed its output is looked at again.
const PAUSE: Duration = Duration::from_millis(2);

/// Why a program has no output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// It cannot be started, or its output cannot be read.
    #[error("cannot be run: {0}")]
    Io(#[from] io::Error),
    /// It takes too long.
    #[error("has not ended within {0:?}")]
    Late(Duration),
    /// It reports failure.
    #[error("failed ({status}): {said}")]
    Failed {
        /// Its exit code or signal.
        status: String,
        /// The first line that it has printed to stderr, or else to stdout.
        said: String,
    },
    /// It prints without end.
    #[error("prints more than the {LIMIT} bytes that are read")]
    Endless,
}

/// The standard output of a program, which must succeed within `limit`. One that does not end is
/// killed.
///
/// # Errors
///
/// If it cannot be run, fails, or takes longer.
pub(crate) fn output(command: &mut Command, limit: Duration) -> Result<Vec<u8>, OutputError> {
    output_of(command.stdin(Stdio::null()), limit)
}

/// The same of a program that has something to read.
///
/// # Errors
///
/// If it cannot be run, fails, or takes longer.
pub(crate) fn output_of(command: &mut Command, limit: Duration) -> Result<Vec<u8>, OutputError> {
    let end = Instant::now() + limit;
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Ending(command.spawn()?);
    let stdout = child.0.stdout.take().map(OwnedFd::from);
    let stderr = child.0.stderr.take().map(OwnedFd::from);
    let mut pipes = [stdout, stderr].map(|pipe| (pipe.map(File::from), Vec::new()));
    while pipes.iter().any(|(pipe, _)| pipe.is_some()) {
        let left = end.checked_duration_since(Instant::now());
        read_some(&mut pipes, left.ok_or(OutputError::Late(limit))?)?;
    }
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            return Err(OutputError::Late(limit));
        }
        thread::sleep(PAUSE);
    };
    let [(_, stdout), (_, stderr)] = pipes;
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(&[stderr, stdout].concat()).into_owned();
    let said = said.lines().find(|line| !line.trim().is_empty());
    Err(OutputError::Failed {
        status: status.to_string(),
        said: said.unwrap_or("without a word").trim().to_owned(),
    })
}

/// Waits until there is something to read, and reads it. A pipe that has ended becomes `None`.
fn read_some(pipes: &mut [(Option<File>, Vec<u8>)], wait: Duration) -> Result<(), OutputError> {
    let open = pipes.iter().filter_map(|(pipe, _)| pipe.as_ref());
    let mut polled: Vec<_> = open.map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
    let wait = Timespec::try_from(wait).ok();
    match poll(&mut polled, wait.as_ref()) {
        Err(rustix::io::Errno::INTR) => return Ok(()),
        done => done.map_err(io::Error::from)?,
    };
    let mut ready = polled
        .iter()
        .map(|polled| !polled.revents().is_empty())
        .collect::<Vec<_>>()
        .into_iter();
    for (pipe, text) in pipes {
        let Some(file) = pipe else { continue };
        if ready.next() != Some(true) {
            continue;
        }
        let mut bytes = [0; 1 << 13];
        let length = file.read(&mut bytes)?;
        text.extend_from_slice(bytes.get(..length).unwrap_or_default());
        if length == 0 {
            *pipe = None;
        } else if text.len() > LIMIT {
            return Err(OutputError::Endless);
        }
    }
    Ok(())
}

/// A program that does not outlive the wait for it.
pub(crate) struct Ending(pub(crate) Child);

impl Drop for Ending {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn shell(script: &str, limit: Duration) -> Result<Vec<u8>, OutputError> {
        output(Command::new("sh").args(["-c", script]), limit)
    }

    #[test]
    fn a_programs_output_is_whole() {
        let text = shell("seq 1 100000; seq 1 100000 >&2", LONG).unwrap();
        assert_eq!(text.len(), 588_895);
        assert!(text.ends_with(b"\n100000\n"));
    }

    #[test]
    fn one_that_fails_says_why() {
        let error = shell("echo half; echo no table >&2; exit 3", LONG).unwrap_err();
        assert_eq!(error.to_string(), "failed (exit status: 3): no table");
        let error = output(&mut Command::new("/nonexistent"), LONG).unwrap_err();
        assert!(error.to_string().starts_with("cannot be run: "), "{error}");
    }

    #[test]
    fn one_that_never_ends_is_not_waited_for() {
        let short = Duration::from_millis(100);
        for script in ["exec sleep 1000", "exec >&- 2>&-; exec sleep 1000"] {
            let error = shell(script, short).unwrap_err();
            assert_eq!(error.to_string(), "has not ended within 100ms");
        }
    }
}
