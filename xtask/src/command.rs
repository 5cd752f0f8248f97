//! Runs other programs, with errors that show the command.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Runs `command` with its output shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("running {}", line(command)))?;
    ensure!(status.success(), "{}: {status}", line(command));
    Ok(())
}

/// Runs `command` and returns its output, without surrounding white space.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("running {}", line(command)))?;
    ensure!(
        output.status.success(),
        "{}: {} {}",
        line(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8(output.stdout)
        .with_context(|| format!("what {} prints is not text", line(command)))?;
    Ok(text.trim().to_owned())
}

fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
