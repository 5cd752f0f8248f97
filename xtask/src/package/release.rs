//! Which version the sources are, and of when.

use std::env;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::output;
use crate::workspace::root;

/// The version of the packages.
#[derive(Debug)]
pub(crate) struct Release {
    /// As in Cargo.toml.
    pub(crate) version: &'static str,
    /// Seconds since 1970: the time of all files.
    pub(crate) epoch: u64,
    /// The commit, if the sources have git.
    pub(crate) commit: Option<String>,
}

/// The packages' own number, behind that of the version.
pub(crate) const REVISION: &str = "1";

impl Release {
    /// That of the sources which this program was built from.
    ///
    /// # Errors
    /// If nothing says when they were written.
    pub(super) fn of_sources() -> Result<Self> {
        let git = |format: &str| {
            let mut git = Command::new("git");
            git.args(["log", "-1", "--abbrev=12", format]);
            output(git.current_dir(root()))
        };
        let epoch = match env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => git("--format=%ct")
                .context("sources without git have no date; set SOURCE_DATE_EPOCH")?,
        };
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            epoch: epoch
                .parse()
                .context("SOURCE_DATE_EPOCH is no number of seconds")?,
            commit: git("--format=%h").ok(),
        })
    }

    /// `command` with the time for all files that it writes.
    pub(super) fn date<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
    }

    /// The time in the form of this `date(1)` format.
    pub(super) fn format(&self, format: &str) -> Result<String> {
        let mut date = Command::new("date");
        date.arg(format!("--date=@{}", self.epoch)).arg(format);
        output(self.date(&mut date))
    }
}
