//! The names that exist.

use std::collections::HashSet;

/// The names that exist, each once, in their order. Names that differ only in ASCII case are equal.
#[derive(Clone, Debug, Default)]
pub struct Known {
    names: Vec<String>,
    /// The names in lower case.
    folded: HashSet<String>,
}

impl Known {
    /// These names.
    pub fn new<'a>(all: impl Iterator<Item = &'a str>) -> Self {
        let mut known = Self::default();
        for name in all {
            if known.folded.insert(name.to_ascii_lowercase()) {
                known.names.push(name.to_owned());
            }
        }
        known
    }

    /// Whether the name is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.folded.contains(&name.to_ascii_lowercase())
    }

    /// The names, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.names.iter()
    }
}
