//! `packaging/manifest.toml`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Format;
use crate::workspace::root;

/// All packages.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    #[serde(rename = "package")]
    pub(super) packages: Vec<Package>,
}

/// A package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    pub(super) name: String,
    /// One line.
    pub(super) summary: String,
    /// Some lines.
    pub(super) description: String,
    /// Other packages of this manifest, which it needs in the same version.
    pub(super) depends: Vec<String>,
    /// What some of its commands call.
    #[serde(default)]
    pub(super) suggests: Vec<Suggestion>,
    files: Vec<Line>,
}

/// What a package is of more use with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Suggestion {
    /// Debian's package.
    pub(super) deb: String,
    /// What the package of an RPM system must provide: the path of a program.
    pub(super) rpm: String,
}

/// A line of the list of files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    from: Option<String>,
    link: Option<PathBuf>,
    to: String,
    #[serde(default = "plain")]
    mode: String,
    #[serde(default)]
    config: bool,
    only: Option<Format>,
}

fn plain() -> String {
    "0644".to_owned()
}

/// A file of a package.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// The path on the system it is installed on, without the first slash.
    pub(super) to: String,
    pub(super) content: Content,
    /// Whether it is for a site to change.
    pub(super) is_config: bool,
}

/// What an entry is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Content {
    File { from: PathBuf, mode: u32 },
    Link(PathBuf),
}

impl Manifest {
    pub(super) fn read() -> Result<Self> {
        let path = root().join("packaging/manifest.toml");
        let text = fs::read_to_string(&path)?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}

impl Package {
    /// Its files in this format, in order; `made` is the folder of those that are made.
    pub(super) fn entries(&self, format: Format, made: &Path) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for line in &self.files {
            if line.only.is_none_or(|only| only == format) {
                entries.extend(line.entries(made)?);
            }
        }
        entries.sort();
        Ok(entries)
    }
}

impl Line {
    fn entries(&self, made: &Path) -> Result<Vec<Entry>> {
        let to = self.to.trim_start_matches('/');
        if let Some(link) = &self.link {
            return Ok(vec![Entry {
                to: to.to_owned(),
                content: Content::Link(link.clone()),
                is_config: false,
            }]);
        }
        let from = self.from.as_deref().context("a file without `from`")?;
        let sources = match from.strip_prefix("made/") {
            Some(from) => matching(&made.join(from))?,
            None => matching(&root().join(from))?,
        };
        ensure!(!sources.is_empty(), "there is no {from}");
        let mode = u32::from_str_radix(&self.mode, 8).context("a mode is octal")?;
        let entry = |from: PathBuf| {
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            let to = match to.strip_suffix('/') {
                Some(folder) => format!("{folder}/{name}"),
                None => to.to_owned(),
            };
            Entry {
                to,
                content: Content::File { from, mode },
                is_config: self.config,
            }
        };
        Ok(sources.into_iter().map(entry).collect())
    }
}

/// The files that a path stands for.
fn matching(path: &Path) -> Result<Vec<PathBuf>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((begin, end)) = name.split_once('*') else {
        return Ok(vec![path.to_owned()]);
    };
    let folder = path.parent().context("a path without a folder")?;
    let names = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths = names.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(begin)
            .is_some_and(|rest| rest.ends_with(end))
    });
    Ok(paths)
}
