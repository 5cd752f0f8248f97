//! Programs of other packages that this one runs for what they can.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::sys::output::{Ending, OutputError, output_of};

/// How long a run may take.
const LIMIT: Duration = Duration::from_hours(1);
/// The most that is read of what a program says of its failure, in bytes.
const SAID: u64 = 1 << 16;

/// A program, and Debian's package of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// The output of a program that runs.
pub(crate) struct Stream {
    tool: Tool,
    child: Ending,
    stdout: ChildStdout,
    stderr: File,
}

impl Tool {
    /// A command line to give arguments to.
    pub(crate) fn command(self) -> Command {
        Command::new(self.program)
    }

    /// The output of a run, which must succeed.
    ///
    /// # Errors
    /// The program is not installed, or fails.
    pub(crate) fn output(self, command: &mut Command, input: Stdio) -> Result<Vec<u8>> {
        command.stdin(input);
        output_of(command, LIMIT).map_err(|error| match error {
            OutputError::Io(error) => self.unstarted(error),
            error => anyhow!("{} {error}", self.program),
        })
    }

    /// Starts a run whose output may be long.
    ///
    /// # Errors
    /// The program is not installed.
    pub(crate) fn stream(self, command: &mut Command) -> Result<Stream> {
        let stderr = tempfile::tempfile().context("no temporary file can be made")?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(stderr.try_clone()?);
        let mut child = command.spawn().map_err(|error| self.unstarted(error))?;
        let stdout = child.stdout.take().context("it has no output")?;
        Ok(Stream {
            tool: self,
            child: Ending(child),
            stdout,
            stderr,
        })
    }

    fn unstarted(self, error: io::Error) -> anyhow::Error {
        let Self { program, package } = self;
        if error.kind() == io::ErrorKind::NotFound {
            return anyhow!(
                "{program} is not installed; Debian's package {package} has it: `apt install {package}`"
            );
        }
        anyhow::Error::new(error).context(format!("{program} cannot be run"))
    }
}

impl Stream {
    /// Waits for its end, which must be a success.
    ///
    /// # Errors
    /// The program has failed.
    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.stdout);
        let status = self.child.0.wait()?;
        if status.success() {
            return Ok(());
        }
        let mut said = Vec::new();
        self.stderr.rewind()?;
        self.stderr.take(SAID).read_to_end(&mut said)?;
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().find(|line| !line.trim().is_empty());
        let line = line.unwrap_or("without a word").trim();
        bail!("{} failed ({status}): {line}", self.tool.program)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stdout.read(buffer)
    }
}
