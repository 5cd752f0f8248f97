//! `cargo xtask bench`: builds the daemon and the benchmark, which is a crate of its own because it
//! takes long to build.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::binary;

/// Measures boot storms, full load, boot storms amid hostile packets, the cost of an answer,
/// reloads and memory, against other responders on the same wire.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  cargo xtask bench --help                    all options
  sudo cargo xtask bench                      all of it: some 8 minutes"
)]
pub(crate) struct Arguments {
    /// Arguments for the benchmark.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "BENCH ARGS"
    )]
    bench: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut bench = binary::cargo();
    bench.args(["run", "--package", "proxydhcp-bench", "--"]);
    bench.args(&arguments.bench);
    if !arguments
        .bench
        .iter()
        .any(|it| it == "--help" || it == "-h")
    {
        bench.env("PROXYDHCP_BIN", binary::build()?);
    }
    let status = bench.status().context("cannot start cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
