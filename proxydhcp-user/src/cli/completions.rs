//! `proxydhcp completions`: the script that has a shell ask this program for completions.

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};

use crate::cli::Cli;
use crate::cli::exit::Exit;
use crate::cli::output::print;

/// The variable by which the script asks, and names its shell.
const VARIABLE: &str = "PROXYDHCP_COMPLETE";

/// What is changed in the script for bash, to which an equals sign is a word. With the cursor right
/// behind it, the program is asked for the word that ends with it, and answers with whole words; bash
/// wants what follows.
const BEHIND_EQUALS: [(&str, &str); 2] = [
    (
        r#"        words[COMP_CWORD]="$2""#,
        r#"        if [[ -z "$2" && "${words[COMP_CWORD]}" == "=" ]]; then
            words[COMP_CWORD-1]+="="
            unset 'words[COMP_CWORD]'
            _CLAP_COMPLETE_INDEX=$((COMP_CWORD - 1))
        else
            words[COMP_CWORD]="$2"
        fi"#,
    ),
    (
        "    elif [[ $_CLAP_COMPLETE_SPACE == false ]]",
        r#"    elif [[ $_CLAP_COMPLETE_INDEX != "$COMP_CWORD" ]]; then
        COMPREPLY=("${COMPREPLY[@]#*=}")
    elif [[ $_CLAP_COMPLETE_SPACE == false ]]"#,
    ),
];

/// Arguments of `completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script for a shell. It calls this program by the path that it runs from now.
///
/// # Errors
///
/// If that path is not known.
pub(super) fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    let program = env::current_exe().context("cannot find out where this program is")?;
    let shells = Shells::builtins();
    let shell = shells
        .completer(&args.shell.to_string())
        .with_context(|| format!("there are no completions for {}", args.shell))?;
    let mut script = Vec::new();
    let (name, program) = ("proxydhcp", program.display().to_string());
    shell.write_registration(VARIABLE, name, name, &program, &mut script)?;
    let mut script = String::from_utf8(script)?;
    for (before, after) in BEHIND_EQUALS {
        script = script.replace(before, after);
    }
    print(&script);
    Ok(Exit::Done.into())
}

/// Answers a shell that asks for completions, and ends the process. Otherwise does nothing. Call it
/// before any thread is started.
pub fn answer_shell() {
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .complete();
}
