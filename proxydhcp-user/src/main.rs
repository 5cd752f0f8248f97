//! The `proxydhcp` command.

use std::env;
use std::process::ExitCode;

use proxydhcp::cli::{Cli, completions, exit};
use proxydhcp::xcat;

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    if xcat::is_called_by(arguments.next().as_deref()) {
        return xcat::main(arguments);
    }
    completions::answer_shell();
    let run = || {
        let (command, context) = Cli::read(env::args_os(), &[])?;
        command.run(&context)
    };
    run().unwrap_or_else(|error| exit::fail(&error))
}
