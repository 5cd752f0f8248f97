//! `proxydhcp.cfg` and the files beside it, which say what a record has no room for: all that a node
//! is, wherever it comes from.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::nodes::cfg::{self, CfgError, RECORD, disabled, hardware};
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
    /// The lines of the file of groups, if there is one.
    pub groups: Option<String>,
    /// The lines of the file of settings, if there is one.
    pub settings: Option<String>,
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
            let bytes = text_file::read_if_there(path)?;
            Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok(Self {
            records,
            disabled: text(&disabled::path(config))?.unwrap_or_default(),
            hardware: text(&hardware::path(config))?.unwrap_or_default(),
            hosts: text_file::read_if_there(&hosts(config))?.unwrap_or_default(),
            groups: text(&groups(config))?,
            settings: text(&settings(config))?,
        })
    }

    /// The files beside `config`, and what is in each; `None`: there is no such file.
    pub(crate) fn files(&self, config: &Path) -> impl Iterator<Item = (PathBuf, Option<&[u8]>)> {
        let texts = [
            Some(self.disabled.as_bytes()),
            Some(self.hardware.as_bytes()),
            Some(&*self.hosts),
            self.groups.as_deref().map(str::as_bytes),
            self.settings.as_deref().map(str::as_bytes),
        ];
        paths(config).into_iter().zip(texts)
    }

    /// These texts, in which the nodes of `changed` have its records, and are disabled if they are in
    /// it. The records of both are in the order of the nodes' names, as are the lines of disabled nodes,
    /// one each. `None` if a node has no record yet.
    pub fn with(&self, changed: &Self) -> Option<Self> {
        let mut texts = self.clone();
        let (records, _) = texts.records.as_chunks_mut::<RECORD>();
        let mut names = HashSet::new();
        for new in changed.records.as_chunks::<RECORD>().0 {
            let of_new = cfg::name_field(new);
            let at = records.binary_search_by(|record| cfg::name_field(record).cmp(of_new));
            *records.get_mut(at.ok()?)? = *new;
            names.insert(of_new);
        }
        let is_as_before = |line: &&str| !names.contains(line.as_bytes());
        let disabled = self.disabled.lines().filter(is_as_before);
        let mut disabled: Vec<_> = disabled.chain(changed.disabled.lines()).collect();
        disabled.sort_unstable();
        texts.disabled = disabled.iter().flat_map(|line| [line, "\n"]).collect();
        Some(texts)
    }
}

/// The paths of the files beside `config`.
pub(crate) fn paths(config: &Path) -> [PathBuf; 5] {
    [
        disabled::path(config),
        hardware::path(config),
        hosts(config),
        groups(config),
        settings(config),
    ]
}

/// The path of the file with the addresses of the nodes of `config`.
pub fn hosts(config: &Path) -> PathBuf {
    beside(config, ".hosts")
}

/// The path of the file with the groups that go with `config` into a fleet.
pub fn groups(config: &Path) -> PathBuf {
    beside(config, ".groups")
}

/// The path of the file with the settings that go with `config` into a fleet.
pub fn settings(config: &Path) -> PathBuf {
    beside(config, ".settings")
}

fn beside(config: &Path, ending: &str) -> PathBuf {
    let mut path = config.as_os_str().to_owned();
    path.push(ending);
    path.into()
}
