//! The nodes that get no answer whatever their records say: xCAT's `supportproxydhcp=no`.
//!
//! A record has no room for this attribute, so the names are in a text file beside `proxydhcp.cfg`,
//! named after it: `proxydhcp.cfg.disabled`. It has one name on each line; `#` begins a comment.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::name_of;
use crate::sys::file::{self, FileError};
use crate::sys::replace::Replacement;

const HEADER: &str = "# Nodes that get no answer (supportproxydhcp=no), one name a line.\n";

/// The path of the file for the configuration `config`.
pub fn path(config: &Path) -> PathBuf {
    let mut path = config.as_os_str().to_owned();
    path.push(".disabled");
    path.into()
}

/// The names in the file.
#[derive(Clone, Debug, Default)]
pub struct Disabled {
    text: String,
    /// The names, in lower case.
    names: HashSet<String>,
    changed: bool,
}

/// The contents of a line.
enum Line<'a> {
    Name(&'a str),
    Nothing,
    Malformed,
}

impl Disabled {
    /// Reads the file that belongs to `config`; a missing one has no names.
    ///
    /// # Errors
    /// If it exists, but cannot be read.
    pub fn read(config: &Path) -> Result<Self, FileError> {
        let bytes = file::read_if_there(&path(config))?.unwrap_or_default();
        Ok(Self::parse(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn parse(text: String) -> Self {
        let names = names(&text).map(str::to_ascii_lowercase).collect();
        Self {
            text,
            names,
            changed: false,
        }
    }

    /// The names, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.text)
    }

    /// Whether it contains the name, ignoring ASCII case.
    pub fn contains(&self, name: &str) -> bool {
        !self.names.is_empty() && self.names.contains(&name.to_ascii_lowercase())
    }

    /// The numbers, from 1, of the lines that are neither a name nor a comment.
    pub fn malformed(&self) -> Vec<usize> {
        (1..)
            .zip(self.text.lines())
            .filter(|(_, text)| matches!(line(text), Line::Malformed))
            .map(|(number, _)| number)
            .collect()
    }

    /// Adds names at the end. Names already in the file stay where they are.
    pub fn add<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if self.names.insert(name.to_ascii_lowercase()) {
                if self.text.is_empty() {
                    self.text.push_str(HEADER);
                } else if !self.text.ends_with('\n') {
                    self.text.push('\n');
                }
                self.text.push_str(name);
                self.text.push('\n');
                self.changed = true;
            }
        }
    }

    /// Removes the lines of these names.
    pub fn remove<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let gone: HashSet<_> = names
            .map(str::to_ascii_lowercase)
            .filter(|name| self.names.remove(name))
            .collect();
        if gone.is_empty() {
            return;
        }
        self.changed = true;
        self.text = self
            .text
            .split_inclusive('\n')
            .filter(|text| match line(text) {
                Line::Name(name) => !gone.contains(&name.to_ascii_lowercase()),
                Line::Nothing | Line::Malformed => true,
            })
            .collect();
    }

    /// Whether names were added or removed.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Replaces the file in one step, if its names have changed. A caller that also changes
    /// `config` must call this within [`super::edit::edit`], so that there is one writer at a time.
    ///
    /// # Errors
    /// If it cannot be written. It is then unchanged.
    pub fn write(&self, config: &Path) -> Result<()> {
        if self.changed {
            Replacement::begin(&path(config))?.replace(self.text.as_bytes())?;
        }
        Ok(())
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|text| match line(text) {
        Line::Name(name) => Some(name),
        Line::Nothing | Line::Malformed => None,
    })
}

fn line(text: &str) -> Line<'_> {
    let name = text.split('#').next().unwrap_or_default().trim();
    match name_of(name.as_bytes()) {
        _ if name.is_empty() => Line::Nothing,
        Ok(name) => Line::Name(name),
        Err(_) => Line::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(config: &Path) -> Vec<String> {
        let disabled = Disabled::read(config).unwrap();
        disabled.names().map(str::to_owned).collect()
    }

    #[test]
    fn names_are_kept_with_what_administrators_write_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("cfg");
        assert!(read(&config).is_empty());
        let file = folder.path().join("cfg.disabled");
        fs::write(&file, "# bad fans\nn1\n\n N2 # until monday\nn3 n4\nn5").unwrap();
        let mut disabled = Disabled::read(&config).unwrap();
        assert_eq!(disabled.names().collect::<Vec<_>>(), ["n1", "N2", "n5"]);
        assert_eq!(disabled.malformed(), [5]);
        assert!(disabled.contains("n2") && disabled.contains("N1") && !disabled.contains("n3"));

        disabled.add(["n6", "N5"].into_iter());
        disabled.remove(["n2", "n9"].into_iter());
        disabled.write(&config).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# bad fans\nn1\n\nn3 n4\nn5\nn6\n");
        assert_eq!(read(&config), ["n1", "n5", "n6"]);
    }

    #[test]
    fn what_is_not_changed_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("cfg");
        let mut disabled = Disabled::read(&config).unwrap();
        disabled.remove(["n1"].into_iter());
        disabled.write(&config).unwrap();
        assert!(!path(&config).exists());
        disabled.add(["n1"].into_iter());
        disabled.write(&config).unwrap();
        let text = fs::read_to_string(path(&config)).unwrap();
        assert_eq!(text, format!("{HEADER}n1\n"));
        fs::create_dir(folder.path().join("b.disabled")).unwrap();
        assert!(Disabled::read(&folder.path().join("b")).is_err());
    }
}
