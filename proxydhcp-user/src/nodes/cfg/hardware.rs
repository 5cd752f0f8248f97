//! The hardware addresses of nodes, which a record has no room for: a text file beside
//! `proxydhcp.cfg`, named after it: `proxydhcp.cfg.hardware`. Each line has a node's name, and what the
//! node is known by: `n1 mac=52:54:00:12:34:56,52:54:00:12:34:57 uuid=4c4c4544-...`; `#` begins a comment.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::nodes::hardware::{Address, Id, Uuid};
use crate::sys::file::FileError;
use crate::sys::replace::Replacement;
use crate::sys::text_file;

const HEADER: &str = "# What nodes are known by besides their addresses, a node a line: \
    NAME mac=MAC,MAC uuid=UUID\n";

/// The path of the file for the configuration `config`.
pub fn path(config: &Path) -> PathBuf {
    let mut path = config.as_os_str().to_owned();
    path.push(".hardware");
    path.into()
}

/// The contents of the file.
#[derive(Clone, Debug, Default)]
pub struct HardwareFile {
    lines: Vec<Line>,
    changed: bool,
}

#[derive(Clone, Debug)]
struct Line {
    /// The line as it is in the file, with its end.
    text: String,
    /// The node's name, unless the line is empty or a comment.
    name: Option<String>,
    ids: Vec<Id>,
    faults: Vec<String>,
}

impl HardwareFile {
    /// Reads the file that belongs to `config`; a missing one has no nodes.
    ///
    /// # Errors
    /// If it exists, but cannot be read.
    pub fn read(config: &Path) -> Result<Self, FileError> {
        let bytes = text_file::read_if_there(&path(config))?;
        Ok(Self::parse(&String::from_utf8_lossy(
            &bytes.unwrap_or_default(),
        )))
    }

    /// The contents of a file's text.
    pub fn parse(text: &str) -> Self {
        Self {
            lines: text.split_inclusive('\n').map(Line::parse).collect(),
            changed: false,
        }
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| line.text.as_str()).collect()
    }

    /// What nodes are known by, in the file's order: the line, from 1, and the node's name.
    pub fn ids(&self) -> impl Iterator<Item = (usize, &str, Id)> {
        (1..).zip(&self.lines).flat_map(|(number, line)| {
            let name = line.name.as_deref().unwrap_or_default();
            line.ids.iter().map(move |&id| (number, name, id))
        })
    }

    /// What is wrong with lines, which have these numbers, from 1.
    pub fn faults(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(&self.lines).flat_map(|(number, line)| {
            line.faults
                .iter()
                .map(move |fault| (number, fault.as_str()))
        })
    }

    /// What each node is known by, by its name in lower case.
    pub fn by_name(&self) -> HashMap<String, Vec<Id>> {
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        for (_, name, id) in self.ids() {
            by_name
                .entry(name.to_ascii_lowercase())
                .or_default()
                .push(id);
        }
        by_name
    }

    /// What the node is known by.
    pub fn of(&self, name: &str) -> Vec<Id> {
        let ids = self
            .ids()
            .filter(|(_, of, _)| of.eq_ignore_ascii_case(name));
        ids.map(|(_, _, id)| id).collect()
    }

    /// Has the node known by these MAC addresses and these UUIDs; those that are `None` stay. Returns
    /// whether that is a change.
    pub fn set(&mut self, name: &str, macs: Option<&[Id]>, uuids: Option<&[Id]>) -> bool {
        let is_of = |line: &Line| {
            let of = line.name.as_deref();
            of.is_some_and(|of| of.eq_ignore_ascii_case(name))
        };
        let lines = self.lines.iter().filter(|line| is_of(line));
        let before: Vec<_> = lines.flat_map(|line| line.ids.iter().copied()).collect();
        let of_kind = |is_mac: bool| {
            let ids = before.iter().copied();
            ids.filter(move |id| matches!(id, Id::Mac(_)) == is_mac)
        };
        let mut after = macs.map_or_else(|| of_kind(true).collect(), <[Id]>::to_vec);
        after.extend(uuids.map_or_else(|| of_kind(false).collect(), <[Id]>::to_vec));
        let mut seen = HashSet::new();
        after.retain(|id| seen.insert(*id));
        if after == before {
            return false;
        }
        self.changed = true;
        let new = (!after.is_empty()).then(|| line(name, &after));
        let first = self.lines.iter().position(is_of);
        let comment = first
            .and_then(|first| self.lines.get(first))
            .and_then(|line| {
                let (_, comment) = line.text.split_once('#')?;
                Some(format!(" #{}", comment.trim_end()))
            });
        self.lines.retain(|line| !is_of(line));
        if let Some(text) = new {
            let text = format!("{text}{}\n", comment.unwrap_or_default());
            let at = first.unwrap_or(self.lines.len());
            if self.lines.is_empty() {
                self.lines.push(Line::parse(HEADER));
            }
            let at = if first.is_some() {
                at
            } else {
                self.lines.len()
            };
            self.end_last_line();
            self.lines
                .insert(at.min(self.lines.len()), Line::parse(&text));
        }
        true
    }

    fn end_last_line(&mut self) {
        if let Some(last) = self.lines.last_mut()
            && !last.text.ends_with('\n')
        {
            last.text.push('\n');
        }
    }

    /// Removes the lines of these nodes. Returns whether there were any.
    pub fn remove(&mut self, names: &HashSet<String>) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| {
            let name = line.name.as_deref();
            !name.is_some_and(|name| names.contains(&name.to_ascii_lowercase()))
        });
        let removed = self.lines.len() < before;
        self.changed |= removed;
        removed
    }

    /// Replaces the file in one step, if it has changed. A caller must do so within
    /// [`super::edit::edit`], so that there is one writer at a time.
    ///
    /// # Errors
    /// If it cannot be written. It is then unchanged.
    pub fn write(&self, config: &Path) -> Result<()> {
        if self.changed {
            Replacement::begin(&path(config))?.replace(self.text().as_bytes())?;
        }
        Ok(())
    }
}

/// The line of a node.
fn line(name: &str, ids: &[Id]) -> String {
    let of_kind = |key: &str, is_mac: bool| {
        let ids = ids.iter().filter(|id| matches!(id, Id::Mac(_)) == is_mac);
        let ids: Vec<_> = ids.map(ToString::to_string).collect();
        (!ids.is_empty()).then(|| format!(" {key}={}", ids.join(",")))
    };
    let [macs, uuids] = [of_kind("mac", true), of_kind("uuid", false)];
    format!(
        "{name}{}{}",
        macs.unwrap_or_default(),
        uuids.unwrap_or_default()
    )
}

impl Line {
    fn parse(text: &str) -> Self {
        let mut line = Self {
            text: text.to_owned(),
            name: None,
            ids: Vec::new(),
            faults: Vec::new(),
        };
        let (content, _) = text.split_once('#').unwrap_or((text, ""));
        let mut words = content.split_whitespace();
        let Some(name) = words.next() else {
            return line;
        };
        if name.contains('=') {
            line.faults
                .push(format!("a node's name should stand before {name:?}"));
            return line;
        }
        line.name = Some(name.to_owned());
        for word in words {
            match values(word) {
                Ok(ids) => line.ids.extend(ids),
                Err(fault) => line.faults.push(fault),
            }
        }
        if line.ids.is_empty() && line.faults.is_empty() {
            line.faults.push(format!(
                "write what {name} is known by: mac=MAC or uuid=UUID"
            ));
        }
        line
    }
}

/// The values in `mac=MAC,MAC` or `uuid=UUID`.
///
/// # Errors
/// If it is neither: what is wrong.
pub fn values(word: &str) -> Result<Vec<Id>, String> {
    let parse: fn(&str) -> Result<Id, String> = match word.split_once('=') {
        Some(("mac", _)) => mac,
        Some(("uuid", _)) => uuid,
        _ => return Err(format!("{word:?} is neither mac=MAC nor uuid=UUID")),
    };
    let (_, list) = word.split_once('=').unwrap_or_default();
    list.split(',')
        .filter(|text| !text.is_empty())
        .map(parse)
        .collect()
}

fn mac(text: &str) -> Result<Id, String> {
    match Address::parse(text) {
        Some(Address::Ethernet(mac)) => Ok(Id::Mac(mac)),
        Some(Address::Nobody(mac)) => Err(format!("{mac} is not the address of a card")),
        Some(Address::Long(bytes)) => Err(format!(
            "{text} has {bytes} bytes, as InfiniBand has, and is not the Ethernet address that PXE asks with"
        )),
        None => Err(format!(
            "{text:?} is no MAC address, such as 52:54:00:12:34:56"
        )),
    }
}

fn uuid(text: &str) -> Result<Id, String> {
    Uuid::parse(text).map(Id::Uuid).ok_or_else(|| {
        format!("{text:?} is no machine's UUID, such as 4c4c4544-0042-3510-8054-b9c04f4d3233")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "4c4c4544-0042-3510-8054-b9c04f4d3233";

    fn known(file: &HardwareFile) -> Vec<String> {
        let ids = file.ids();
        ids.map(|(line, name, id)| format!("{line} {name} {id}"))
            .collect()
    }

    #[test]
    fn a_line_has_a_node_and_all_that_it_is_known_by() {
        let file = HardwareFile::parse(&format!(
            "# a comment\n\nn1 mac=52:54:0:12:34:56,52-54-00-12-34-57 uuid={UUID} # rack 1\n  N2 mac=5254.0012.3458"
        ));
        assert_eq!(
            known(&file),
            [
                "3 n1 52:54:00:12:34:56".to_owned(),
                "3 n1 52:54:00:12:34:57".to_owned(),
                format!("3 n1 {UUID}"),
                "4 N2 52:54:00:12:34:58".to_owned(),
            ]
        );
        assert_eq!(file.faults().count(), 0);
    }

    #[test]
    fn a_fault_is_named_with_its_line_and_the_rest_counts() {
        let file = HardwareFile::parse(
            "n1\nn2 mac=1:2:3\nn3 mac=ff:ff:ff:ff:ff:ff uuid=00 mac=52:54:00:00:00:03\nmac=1\nn5 ip=10.0.0.1\n",
        );
        assert_eq!(known(&file), ["3 n3 52:54:00:00:00:03"]);
        let lines: Vec<_> = file.faults().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 2, 3, 3, 4, 5]);
    }

    #[test]
    fn a_change_keeps_all_other_lines_and_the_comment() {
        let text = "# mine\nn1 mac=52:54:00:00:00:01 # rack 1\nn2 mac=52:54:00:00:00:02";
        let mut file = HardwareFile::parse(text);
        let ids = |word: &str| values(word).unwrap();
        assert!(!file.set("N1", Some(&ids("mac=52:54:00:00:00:01")), None));
        assert!(!file.set("n9", Some(&[]), None) && !file.changed);
        assert!(file.set("N1", None, Some(&ids(&format!("uuid={UUID}")))));
        assert!(file.set(
            "n3",
            Some(&ids("mac=52:54:00:00:00:03,52:54:00:00:00:03")),
            None
        ));
        let changed = format!(
            "# mine\nN1 mac=52:54:00:00:00:01 uuid={UUID} # rack 1\nn2 mac=52:54:00:00:00:02\n\
             n3 mac=52:54:00:00:00:03\n"
        );
        assert_eq!(file.text(), changed);
        assert!(file.set("n2", Some(&[]), None));
        assert!(file.remove(&HashSet::from(["n3".to_owned()])));
        assert_eq!(
            file.text(),
            format!("# mine\nN1 mac=52:54:00:00:00:01 uuid={UUID} # rack 1\n")
        );
    }

    #[test]
    fn it_is_written_beside_the_configuration_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("proxydhcp.cfg");
        let mut file = HardwareFile::read(&config).unwrap();
        file.set("n1", Some(&values("mac=52:54:00:00:00:01").unwrap()), None);
        file.write(&config).unwrap();
        assert_eq!(path(&config), folder.path().join("proxydhcp.cfg.hardware"));
        let again = HardwareFile::read(&config).unwrap();
        assert_eq!(known(&again), ["2 n1 52:54:00:00:00:01"]);
        assert_eq!(again.text(), format!("{HEADER}n1 mac=52:54:00:00:00:01\n"));
    }
}
