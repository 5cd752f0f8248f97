//! The project's chores, as `cargo xtask <command>`.

mod bench;
mod binary;
mod build_ebpf;
mod command;
mod demo;
mod fuzz;
mod kernels;
mod package;
mod pypi;
mod run;
mod storm_table;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs, shows, tests, measures and builds proxydhcp.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
#[command(after_help = "Example:\n  cargo xtask run --demo")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    Test(test::Arguments),
    Bench(bench::Arguments),
    Fuzz(fuzz::Arguments),
    Package(package::Arguments),
    /// Rebuilds the XDP object that is committed beside its loader.
    #[command(after_help = "Example:\n  cargo xtask build-ebpf --check")]
    BuildEbpf {
        /// Changes nothing; fails if the committed object does not match the sources.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Package(arguments) => package::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Fuzz(arguments) => fuzz::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::BuildEbpf { check } => build_ebpf::run(check).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_help_is_sound_and_has_an_example() {
        let mut command = Arguments::command();
        command.build();
        command.clone().debug_assert();
        let has_example = |help: String| help.contains("Example");
        assert!(has_example(command.render_long_help().to_string()));
        for chore in command.get_subcommands_mut() {
            let name = chore.get_name().to_owned();
            let help = chore.render_long_help().to_string();
            assert!(name == "help" || has_example(help), "{name}");
        }
    }
}
