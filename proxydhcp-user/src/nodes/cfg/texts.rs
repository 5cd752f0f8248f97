//! `proxydhcp.cfg` and the files beside it, which say what a record has no room for: all that a node
//! is, wherever it comes from.

use std::path::{Path, PathBuf};

use crate::nodes::cfg::{self, CfgError, disabled, hardware};
use crate::sys::file::FileError;
use crate::sys::text_file;

/// The contents of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The records of `proxydhcp.cfg`.
    pub records: Vec<u8>,
    /// The lines of the file of disabled nodes.
    pub disabled: String,
    /// The lines of the file of hardware addresses.
    pub hardware: String,
    /// The addresses that nodes have whatever the hosts file says, in the form of a hosts file.
    pub hosts: Vec<u8>,
}

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TextsError {
    /// `proxydhcp.cfg` cannot be read, or is not such a file.
    #[error(transparent)]
    Config(#[from] CfgError),
    /// A file beside it exists, but cannot be read.
    #[error(transparent)]
    Beside(#[from] FileError),
}

impl Texts {
    /// Reads `config` and the files beside it.
    ///
    /// # Errors
    /// If `config` is missing or damaged, or one of the others cannot be read.
    pub fn read(config: &Path) -> Result<Self, TextsError> {
        Ok(Self::beside(cfg::read(config)?, config)?)
    }

    /// Reads the files beside `config`, which has these records.
    ///
    /// # Errors
    /// If one of them exists, but cannot be read.
    pub fn beside(records: Vec<u8>, config: &Path) -> Result<Self, FileError> {
        let text = |path: &Path| {
            let bytes = text_file::read_if_there(path)?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Self {
            records,
            disabled: text(&disabled::path(config))?,
            hardware: text(&hardware::path(config))?,
            hosts: text_file::read_if_there(&hosts(config))?.unwrap_or_default(),
        })
    }
}

/// The path of the file with the addresses of the nodes of `config`.
pub fn hosts(config: &Path) -> PathBuf {
    let mut path = config.as_os_str().to_owned();
    path.push(".hosts");
    path.into()
}
