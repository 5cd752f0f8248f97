//! The groups file, which defines groups of nodes.
//!
//! ```text
//! # the racks of the old hall
//! rack1: n[001-036]
//! rack2: n[037-072],-n050
//! old:   @rack1,@rack2      # groups may be of groups
//! old:   login1             # and of several lines
//! ```

use std::collections::BTreeMap;

/// The groups of a file.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    source: String,
    /// By group name: the number, from 1, and the noderange of each of its lines.
    groups: BTreeMap<String, Vec<(usize, String)>>,
}

/// A line that does not define a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}, line {line}: a group is expected, such as rack1: n[01-36]")]
pub struct GroupsError {
    source_name: String,
    line: usize,
}

impl Groups {
    /// Parses `text`, which comes from a file named `source`. Noderanges are not checked before
    /// they are used.
    ///
    /// # Errors
    /// If a line lacks a name or a colon, or has a name that cannot be referred to.
    pub fn parse(source: &str, text: &str) -> Result<Self, GroupsError> {
        let mut groups: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = without_comment(line);
            if line.is_empty() {
                continue;
            }
            let group = line
                .split_once(':')
                .map(|(name, range)| (name.trim(), range.trim()))
                .filter(|(name, _)| is_name(name));
            let (name, range) = group.ok_or_else(|| GroupsError {
                source_name: source.to_owned(),
                line: number,
            })?;
            let lines = groups.entry(name.to_owned()).or_default();
            // A group may be empty.
            if !range.is_empty() {
                lines.push((number, range.to_owned()));
            }
        }
        Ok(Self {
            source: source.to_owned(),
            groups,
        })
    }

    /// No groups, because the file of this name does not exist.
    pub fn none(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            groups: BTreeMap::new(),
        }
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn lines(&self, name: &str) -> Option<&[(usize, String)]> {
        self.groups.get(name).map(Vec::as_slice)
    }

    /// The noderanges of a group.
    pub fn ranges(&self, name: &str) -> impl Iterator<Item = &String> {
        let lines = self.lines(name).unwrap_or_default();
        lines.iter().map(|(_, range)| range)
    }

    /// The names of all groups, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }
}

fn is_name(name: &str) -> bool {
    let is_of_name = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(is_of_name)
}

/// The part of a line before a comment.
pub(super) fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}
