//! Commands that have ended.

use std::process::Output;

use anyhow::Result;
use proxydhcp_lab::site::Site;

/// What a command has printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn new(output: &Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Runs a command of the site's daemon to its end.
    pub(crate) fn command(site: &Site, args: &[&str]) -> Result<Self> {
        Ok(Self::new(&site.command(args)?))
    }
}
