//! The nodes in the files, and those that a command's noderange selects.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Result, bail};
use zerocopy::IntoBytes;

use crate::nodes::cfg::disabled::Disabled;
use crate::nodes::cfg::edit::{RawRecord, raw_records};
use crate::nodes::cfg::hardware::HardwareFile;
use crate::nodes::cfg::texts::Texts;
use crate::nodes::cfg::{self, CfgError};
use crate::nodes::noderange::{self, Groups, Known};
use crate::sys::file::FileError;
use crate::sys::text_file;

/// The groups file that is read if no other is named. It may be missing.
const DEFAULT_GROUPS: &str = "/etc/proxydhcp.groups";

/// The records, and the disabled nodes.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) records: Vec<RawRecord>,
    pub(crate) disabled: Disabled,
    pub(crate) hardware: HardwareFile,
    /// The groups that come with the nodes, if some do.
    pub(crate) groups: Option<String>,
}

impl Nodes {
    /// Reads the nodes of `config` and of the file beside it.
    pub(crate) fn read(config: &Path) -> Result<Self, CfgError> {
        Self::of_bytes(&cfg::read(config)?, config)
    }

    /// Reads the nodes of `config` and of the file beside it. A missing file has no records.
    pub(crate) fn read_if_there(config: &Path) -> Result<Self, CfgError> {
        Self::of_bytes(&cfg::read_if_there(config)?, config)
    }

    /// The nodes of these files.
    pub(crate) fn of_texts(texts: &Texts) -> Self {
        Self {
            records: raw_records(&texts.records).0.to_vec(),
            disabled: Disabled::parse(&texts.disabled, || cfg::names(&texts.records)),
            hardware: HardwareFile::parse(&texts.hardware),
            groups: texts.groups.clone(),
        }
    }

    fn of_bytes(bytes: &[u8], config: &Path) -> Result<Self, CfgError> {
        Ok(Self {
            records: raw_records(bytes).0.to_vec(),
            disabled: Disabled::read(config, || cfg::names(bytes))?,
            hardware: HardwareFile::read(config)?,
            groups: None,
        })
    }

    /// The nodes of a noderange, which need not be among these; `all` and its regular expressions
    /// mean these. Its groups come from the file `groups`, or with the nodes, or from the default file.
    pub(crate) fn of_range(&self, range: &str, groups: Option<&Path>) -> Result<Vec<String>> {
        let own = self.groups.as_deref().filter(|_| groups.is_none());
        expand(range, &self.names(), &groups_or_file(own, groups)?)
    }

    /// The nodes of a noderange, as [`Nodes::of_range`] selects them, for commands that need at
    /// least one node. An empty selection is an error.
    pub(crate) fn some_of_range(&self, range: &str, groups: Option<&Path>) -> Result<Vec<String>> {
        let names = self.of_range(range, groups)?;
        if names.is_empty() {
            bail!("the noderange {range} has no nodes");
        }
        Ok(names)
    }

    /// The names of all nodes that are valid text: those of records in the file's order, then those of
    /// disabled nodes without a record.
    pub(crate) fn names(&self) -> Known {
        let recorded = cfg::names(self.bytes());
        Known::new(
            recorded
                .iter()
                .map(String::as_str)
                .chain(self.disabled.names()),
        )
    }

    /// Those of these names that belong to no node.
    pub(crate) fn without<'a>(&self, names: &'a [String]) -> Vec<&'a String> {
        let known = self.names();
        names.iter().filter(|name| !known.contains(name)).collect()
    }

    /// The last record for each name in lower case, which is the one that is served.
    pub(crate) fn by_name(&self) -> HashMap<String, RawRecord> {
        let text = |record: &RawRecord| {
            let name = str::from_utf8(record.name()).ok()?;
            Some((name.to_ascii_lowercase(), *record))
        };
        self.records.iter().filter_map(text).collect()
    }

    /// The records as the file stores them.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.records.as_slice().as_bytes()
    }

    /// Whether there is no node, or all are disabled.
    pub(crate) fn has_none_to_serve(&self) -> bool {
        self.records.iter().all(|record| {
            str::from_utf8(record.name()).is_ok_and(|name| self.disabled.contains(name))
        })
    }
}

/// The nodes of a noderange, where there are those that are `known`, and these groups.
pub(crate) fn expand(range: &str, known: &Known, groups: &Groups) -> Result<Vec<String>> {
    let context = noderange::Context {
        known,
        groups: Some(groups),
        read: &|path| text(path).map_err(|error| error.to_string()),
    };
    let mut names = noderange::expand(range, &context)?;
    // Names that differ in case are different in noderanges.
    let mut seen = HashSet::with_capacity(names.len());
    names.retain(|name| seen.insert(name.to_ascii_lowercase()));
    Ok(names)
}

/// The groups of the default groups file, with those of these names that each has, in lower case. One that
/// is wrong has none here; commands that name it say why.
pub(crate) fn groups_of(names: &[&str]) -> Vec<(String, Vec<String>)> {
    let Ok(groups) = read_groups(None) else {
        return Vec::new();
    };
    let known = Known::new(names.iter().copied());
    let context = noderange::Context {
        known: &known,
        groups: Some(&groups),
        read: &|path| text(path).map_err(|error| error.to_string()),
    };
    let nodes = |group: &str| {
        let nodes = noderange::expand(&format!("@{group}"), &context).ok()?;
        let nodes = nodes.into_iter().filter(|name| known.contains(name));
        Some(nodes.map(|name| name.to_ascii_lowercase()).collect())
    };
    let groups = groups.names();
    groups
        .filter_map(|group| Some((group.to_owned(), nodes(group)?)))
        .collect()
}

/// These groups, or those of the file `path`, or of the default one.
pub(crate) fn groups_or_file(groups: Option<&str>, path: Option<&Path>) -> Result<Groups> {
    match groups {
        Some(text) => Ok(Groups::parse("the fleet's groups", text)?),
        None => read_groups(path),
    }
}

fn read_groups(path: Option<&Path>) -> Result<Groups> {
    let file = path.unwrap_or(Path::new(DEFAULT_GROUPS));
    let shown = file.display().to_string();
    match text(file) {
        Err(FileError::Missing(_)) if path.is_none() => Ok(Groups::none(&shown)),
        Err(FileError::Missing(_)) => bail!("{shown}: no such file; check --groups"),
        text => Ok(Groups::parse(&shown, &text?)?),
    }
}

fn text(path: &Path) -> Result<String, FileError> {
    let bytes = text_file::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
