//! The nodes that get no answer whatever their records say: xCAT's `supportproxydhcp=no`.
//!
//! A record has no room for this attribute, so the names are in a text file beside `proxydhcp.cfg`,
//! named after it: `proxydhcp.cfg.disabled`. It has one name or noderange on each line; `#` begins a
//! comment. There are no groups and no files in these noderanges: the daemon reads none.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::nodes::noderange::{self, Fault, Known, LIMIT};
use crate::sys::file::FileError;
use crate::sys::replace::Replacement;
use crate::sys::text_file;
use crate::text::Few;

const HEADER: &str =
    "# Nodes that get no answer (supportproxydhcp=no), one name or noderange a line.\n";

/// The path of the file for the configuration `config`.
pub fn path(config: &Path) -> PathBuf {
    let mut path = config.as_os_str().to_owned();
    path.push(".disabled");
    path.into()
}

/// The names in the file.
#[derive(Clone, Debug, Default)]
pub struct Disabled {
    lines: Vec<Line>,
    /// All names, in lower case.
    names: HashSet<String>,
    /// The names of the records.
    known: Known,
    changed: bool,
}

#[derive(Clone, Debug)]
struct Line {
    /// The line as it is in the file, with its end.
    text: String,
    names: Vec<String>,
    fault: Option<Fault>,
}

/// A line that disables nobody, or not whom it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong, with the remedy.
    pub text: String,
}

impl Disabled {
    /// Reads the file that belongs to `config`, whose records have the names `known`; a missing one has
    /// no names.
    ///
    /// # Errors
    /// If it exists, but cannot be read.
    pub fn read(config: &Path, known: impl FnOnce() -> Known) -> Result<Self, FileError> {
        let Some(bytes) = text_file::read_if_there(&path(config))? else {
            return Ok(Self::default());
        };
        Ok(Self::parse(&String::from_utf8_lossy(&bytes), known))
    }

    /// The names in a file's text, where records have the names `known`.
    pub fn parse(text: &str, known: impl FnOnce() -> Known) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        let known = known();
        let mut left = LIMIT;
        let lines: Vec<_> = text
            .split_inclusive('\n')
            .map(|text| Line::new(text, &known, &mut left))
            .collect();
        let names = lines.iter().flat_map(|line| &line.names);
        Self {
            names: names.map(|name| name.to_ascii_lowercase()).collect(),
            lines,
            known,
            changed: false,
        }
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| line.text.as_str()).collect()
    }

    /// The names, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .flat_map(|line| &line.names)
            .map(String::as_str)
    }

    /// Whether it contains the name, ignoring ASCII case.
    pub fn contains(&self, name: &str) -> bool {
        !self.names.is_empty() && self.names.contains(&name.to_ascii_lowercase())
    }

    /// The numbers of the lines, from 1, that are no noderanges, and why.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (usize, &Fault)> {
        let lines = (1..).zip(&self.lines);
        lines.filter_map(|(number, line)| Some((number, line.fault.as_ref()?)))
    }

    /// The lines that are neither noderanges nor comments, and those with names that no record has.
    pub fn problems(&self) -> Vec<Problem> {
        let is_unknown = |name: &&String| !self.known.contains(name);
        let problem = |line: &Line| {
            if let Some(fault) = &line.fault {
                return Some(format!("{fault}; write one name or noderange a line"));
            }
            if line.names.is_empty() && !split(&line.text).0.is_empty() {
                return Some(
                    "this names no node; write a name or noderange without a sign".to_owned(),
                );
            }
            let unknown = Few::of(line.names.iter().filter(is_unknown).cloned());
            (unknown.count > 0).then(|| {
                format!(
                    "there is no record of {unknown}: if a name is misspelt, its node is not \
                     disabled; correct it"
                )
            })
        };
        (1..)
            .zip(&self.lines)
            .filter_map(|(line, text)| problem(text).map(|text| Problem { line, text }))
            .collect()
    }

    /// Adds names at the end. Names already in the file stay where they are.
    pub fn add<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if self.names.insert(name.to_ascii_lowercase()) {
                match self.lines.last_mut() {
                    None => self.lines.push(Line::of(HEADER.to_owned(), Vec::new())),
                    Some(last) if !last.text.ends_with('\n') => last.text.push('\n'),
                    Some(_) => {}
                }
                let names = vec![name.to_owned()];
                self.lines.push(Line::of(format!("{name}\n"), names));
                self.changed = true;
            }
        }
    }

    /// Removes these names. A line that has others too keeps those.
    pub fn remove<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let gone: HashSet<_> = names
            .map(str::to_ascii_lowercase)
            .filter(|name| self.names.remove(name))
            .collect();
        if gone.is_empty() {
            return;
        }
        self.changed = true;
        let lines = std::mem::take(&mut self.lines);
        for line in lines {
            self.lines.extend(line.without(&gone, &self.known));
        }
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
            Replacement::begin(&path(config))?.replace(self.text().as_bytes())?;
        }
        Ok(())
    }
}

impl Line {
    fn of(text: String, names: Vec<String>) -> Self {
        Self {
            text,
            names,
            fault: None,
        }
    }

    /// Parses a line, which may have this many more names.
    fn new(text: &str, known: &Known, left: &mut usize) -> Self {
        let range = split(text).0;
        let mut line = Self::of(text.to_owned(), Vec::new());
        if range.is_empty() {
            return line;
        }
        match names(range, known) {
            Ok(names) if names.len() > *left => line.fault = Some(Fault::TooMany),
            Ok(names) => {
                *left -= names.len();
                line.names = names;
            }
            Err(fault) => line.fault = Some(fault),
        }
        line
    }

    /// The line without the names, if anything is left of it.
    fn without(self, gone: &HashSet<String>, known: &Known) -> Option<Self> {
        let is_gone = |name: &String| gone.contains(&name.to_ascii_lowercase());
        let (goes, stays): (Vec<_>, Vec<_>) = self.names.iter().cloned().partition(is_gone);
        if goes.is_empty() {
            return Some(self);
        }
        if stays.is_empty() {
            return None;
        }
        let (range, comment) = split(&self.text);
        let excluded = format!("{range},-{}", goes.join(",-"));
        // Whichever is shorter, provided that it means the same.
        let is_short = goes.len() <= stays.len();
        let range = if is_short && names(&excluded, known).as_ref() == Ok(&stays) {
            excluded
        } else {
            stays.join(",")
        };
        let space = if comment.starts_with('#') { " " } else { "" };
        Some(Self::of(format!("{range}{space}{comment}"), stays))
    }
}

/// The noderange of a line, and the comment with the line's end.
fn split(line: &str) -> (&str, &str) {
    let end = line.find('#').unwrap_or_else(|| line.trim_end().len());
    let (range, rest) = line.split_at_checked(end).unwrap_or((line, ""));
    (range.trim(), rest)
}

fn names(range: &str, known: &Known) -> Result<Vec<String>, Fault> {
    // Whatever characters a node's name has, it is a name.
    if known.contains(range) {
        return Ok(vec![range.to_owned()]);
    }
    let context = noderange::Context {
        known,
        groups: None,
        read: &|_| Err("other files cannot be used here: name their nodes".to_owned()),
    };
    noderange::expand(range, &context).map_err(|error| error.fault)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read_with(config: &Path, known: &[&str]) -> Disabled {
        Disabled::read(config, || Known::new(known.iter().copied())).unwrap()
    }

    fn read(config: &Path) -> Vec<String> {
        let disabled = read_with(config, &[]);
        disabled.names().map(str::to_owned).collect()
    }

    #[test]
    fn names_are_kept_with_what_administrators_write_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("cfg");
        assert!(read(&config).is_empty());
        let file = folder.path().join("cfg.disabled");
        fs::write(&file, "# bad fans\nn1\n\n N2 # until monday\nn3 n4\nn5").unwrap();
        let mut disabled = read_with(&config, &["n1", "n2"]);
        assert_eq!(disabled.names().collect::<Vec<_>>(), ["n1", "N2", "n5"]);
        let problems = disabled.problems();
        assert_eq!(
            problems
                .iter()
                .map(|problem| problem.line)
                .collect::<Vec<_>>(),
            [5, 6]
        );
        assert!(
            problems[0].text.starts_with("' ' cannot be in a node name"),
            "{problems:?}"
        );
        assert!(
            problems[1].text.starts_with("there is no record of n5:"),
            "{problems:?}"
        );
        assert!(disabled.contains("n2") && disabled.contains("N1") && !disabled.contains("n3"));

        disabled.add(["n6", "N5"].into_iter());
        disabled.remove(["n2", "n9"].into_iter());
        disabled.write(&config).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# bad fans\nn1\n\nn3 n4\nn5\nn6\n");
        assert_eq!(read(&config), ["n1", "n5", "n6"]);
    }

    fn parse(text: &str) -> Disabled {
        let known = ["n1", "n2", "n3", "N4", "odd:one", "a-1"];
        Disabled::parse(text, || Known::new(known.into_iter()))
    }

    fn names(disabled: &Disabled) -> Vec<&str> {
        disabled.names().collect()
    }

    #[test]
    fn a_line_is_a_noderange() {
        let disabled = parse("n1,n3 # fans\r\nn[4-5]\n/a.*\nodd:one\n");
        assert_eq!(names(&disabled), ["n1", "n3", "n4", "n5", "a-1", "odd:one"]);
        let told: Vec<_> = disabled
            .problems()
            .into_iter()
            .map(|problem| problem.text)
            .collect();
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with("there is no record of n5: if a name is misspelt"),
            "{told:?}"
        );
        assert_eq!(
            names(&parse("all,-n1")),
            ["n2", "n3", "N4", "odd:one", "a-1"]
        );
    }

    #[test]
    fn what_names_nobody_is_told() {
        for (line, said) in [
            ("n1;n2", "';' cannot be in a node name"),
            ("n[1-", "this bracket is not closed"),
            ("@rack1", "groups cannot be used here"),
            ("^/etc/nodes", "other files cannot be used here"),
            ("nn1", "there is no record of nn1"),
            // As in other lists of many.
            ("- n1", "this names no node"),
            ("/x.*", "this names no node"),
            ("n1@n2", "this names no node"),
            ("n1\u{a0}n2", "cannot be in a node name"),
            ("n[0000000-9999999]", "more than 1000000 names"),
        ] {
            let problems = parse(&format!("n1\n\n{line}\n")).problems();
            assert_eq!(problems.len(), 1, "{line}");
            assert_eq!(problems[0].line, 3, "{line}");
            assert!(problems[0].text.contains(said), "{problems:?}");
        }
        let many = "n[000001-600000]\nm[000001-600000]\n";
        let problems = parse(many).problems();
        assert!(
            problems[1].text.contains("more than 1000000 names"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_name_leaves_its_line_and_the_others_stay() {
        let removed = |text: &str, gone: &str| {
            let mut disabled = parse(text);
            disabled.remove(gone.split(' '));
            let again = parse(&disabled.text());
            assert_eq!(names(&again), names(&disabled));
            assert!(gone.split(' ').all(|name| !again.contains(name)));
            disabled.text()
        };
        assert_eq!(
            removed("n[1-5] # fans\nn7\n", "n3"),
            "n[1-5],-n3 # fans\nn7\n"
        );
        assert_eq!(removed("n[1-5]#fans", "n1 n2 n3 N4"), "n5 #fans");
        assert_eq!(removed("n1,n2\n", "N1"), "n1,n2,-n1\n");
        assert_eq!(removed("n1\nn[1-2]\n", "n1 n2"), "");
        assert_eq!(removed("/n.*\nall\n", "n2"), "/n.*,-n2\nall,-n2\n");
        // A name that exists is one, whatever its characters.
        assert_eq!(
            removed("all,-n[1-4]\n", "odd:one"),
            "all,-n[1-4],-odd:one\n"
        );
        let mut disabled = parse("n[1-2]");
        disabled.remove(["n1"].into_iter());
        disabled.add(["n1"].into_iter());
        assert_eq!(disabled.text(), "n[1-2],-n1\nn1\n");
    }

    #[test]
    fn what_is_not_changed_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("cfg");
        let mut disabled = read_with(&config, &["n1", "n2"]);
        disabled.remove(["n1"].into_iter());
        disabled.write(&config).unwrap();
        assert!(!path(&config).exists());
        disabled.add(["n1"].into_iter());
        disabled.write(&config).unwrap();
        let text = fs::read_to_string(path(&config)).unwrap();
        assert_eq!(text, format!("{HEADER}n1\n"));
        fs::create_dir(folder.path().join("b.disabled")).unwrap();
        assert!(Disabled::read(&folder.path().join("b"), Known::default).is_err());
    }
}
