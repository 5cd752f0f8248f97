//! Reports what a command has changed.

use std::fmt;

use crate::nodes::hardware::Id;
use crate::text::{SHOWN, listed, printable};

/// What has changed, or would change.
#[derive(Debug, Default)]
pub(super) struct Report {
    added: Lines,
    changed: Lines,
    removed: Lines,
    disabled: Lines,
    enabled: Lines,
    identified: Lines,
    /// The number of nodes that already are as requested.
    pub(super) unchanged: usize,
    /// Names to remove that belong to no node.
    pub(super) absent: Vec<String>,
    /// Nodes that were given a WinPE and are disabled all the same.
    pub(super) still_disabled: Vec<String>,
}

/// The lines about the first nodes of a kind.
#[derive(Debug, Default)]
struct Lines {
    count: usize,
    first: Vec<String>,
}

impl Lines {
    fn push(&mut self, line: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(line());
        }
    }
}

/// Formats a record's path.
pub(super) struct Path<'a>(pub(super) &'a [u8]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(default)");
        }
        f.write_str(&printable(self.0))
    }
}

impl Report {
    pub(super) fn add(&mut self, name: &str, path: &Path<'_>) {
        self.added.push(|| format!("{name}: {path}"));
    }

    pub(super) fn change(&mut self, name: &str, before: &Path<'_>, after: &Path<'_>) {
        self.changed.push(|| format!("{name}: {before} -> {after}"));
    }

    pub(super) fn remove(&mut self, name: &str, path: Option<&Path<'_>>, was_disabled: bool) {
        self.removed.push(|| {
            let path = path.map_or_else(String::new, |path| format!(": {path}"));
            let disabled = if was_disabled { " (was disabled)" } else { "" };
            format!("{name}{path}{disabled}")
        });
    }

    /// The node is known by these from now on.
    pub(super) fn identify(&mut self, name: &str, ids: &[Id]) {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        self.identified.push(|| match ids.as_slice() {
            [] => format!("{name}: by its addresses alone"),
            ids => format!("{name}: {}", ids.join(", ")),
        });
    }

    pub(super) fn support(&mut self, name: &str, support: bool) {
        let lines = if support {
            &mut self.enabled
        } else {
            &mut self.disabled
        };
        lines.push(|| name.to_owned());
    }

    /// Whether anything has changed that the daemon should read.
    pub(super) fn is_change(&self) -> bool {
        self.kinds().iter().any(|(_, lines)| lines.count > 0)
    }

    fn kinds(&self) -> [(&'static str, &Lines); 6] {
        [
            ("added", &self.added),
            ("changed", &self.changed),
            ("removed", &self.removed),
            ("disabled", &self.disabled),
            ("enabled", &self.enabled),
            ("identified", &self.identified),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, lines) in self.kinds() {
            for line in &lines.first {
                writeln!(f, "{kind} {line}")?;
            }
            if lines.count > lines.first.len() {
                writeln!(f, "{kind} {} more", lines.count - lines.first.len())?;
            }
        }
        if !self.still_disabled.is_empty() {
            let names = listed(&self.still_disabled);
            writeln!(f, "still disabled (supportproxydhcp=no): {names}")?;
        }
        // The first three always appear, so that programs find them.
        let counts = self.kinds().into_iter().enumerate();
        let counts: Vec<_> = counts
            .filter(|(index, (_, lines))| *index < 3 || lines.count > 0)
            .map(|(_, (kind, lines))| format!("{} {kind}", lines.count))
            .collect();
        write!(f, "{}, {} unchanged", counts.join(", "), self.unchanged)
    }
}
