//! Output generated from the definition of the command line: shell completions and man pages.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::cli::output::print;

/// Arguments of `completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Write a page for each command into this folder, which is created if necessary
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints the completions for a shell.
///
/// # Errors
///
/// If the generated completions are not UTF-8, which does not happen.
pub(super) fn completions(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(str::from_utf8(&script)?);
    Ok(ExitCode::SUCCESS)
}

/// Prints the man page, or writes those of all commands into a folder.
///
/// # Errors
///
/// If a page cannot be written.
pub(super) fn man(args: &ManArgs) -> Result<ExitCode> {
    let command = Cli::command().disable_help_subcommand(true);
    if let Some(folder) = &args.dir {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        clap_mangen::generate_to(command, folder)
            .with_context(|| format!("cannot write into {}", folder.display()))?;
    } else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        print(str::from_utf8(&page)?);
    }
    Ok(ExitCode::SUCCESS)
}
