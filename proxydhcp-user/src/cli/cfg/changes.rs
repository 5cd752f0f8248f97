//! The differences between two files of records.

use std::collections::HashMap;

use crate::nodes::cfg::edit::RawRecord;
use crate::text::printable;

/// The differences between two files, by node.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// A line for each node that differs.
    pub(crate) lines: Vec<String>,
    pub(crate) added: usize,
    pub(crate) changed: usize,
    pub(crate) removed: usize,
    pub(crate) same: usize,
}

impl Changes {
    /// Compares the records before with those after.
    pub(crate) fn new(before: &[RawRecord], after: &[RawRecord]) -> Self {
        let (old, new) = (by_node(before), by_node(after));
        let mut changes = Self::default();
        let in_order = |records: &[RawRecord], paths: &HashMap<Vec<u8>, Vec<u8>>| {
            let mut paths = paths.clone();
            let mut nodes = Vec::with_capacity(paths.len());
            for record in records {
                let node = record.name().to_ascii_lowercase();
                if let Some(path) = paths.remove(&node) {
                    nodes.push((node, printable(record.name()), path));
                }
            }
            nodes
        };
        for (node, name, path) in in_order(after, &new) {
            let path_text = shown(&path);
            match old.get(&node) {
                None => {
                    changes.added += 1;
                    changes.lines.push(format!("+ {name}: {path_text}"));
                }
                Some(was) if *was != path => {
                    changes.changed += 1;
                    let was = shown(was);
                    changes
                        .lines
                        .push(format!("~ {name}: {was} -> {path_text}"));
                }
                Some(_) => changes.same += 1,
            }
        }
        for (node, name, path) in in_order(before, &old) {
            if !new.contains_key(&node) {
                changes.removed += 1;
                changes.lines.push(format!("- {name}: {}", shown(&path)));
            }
        }
        changes
    }

    pub(crate) fn summary(&self) -> String {
        format!(
            "{} added, {} changed, {} removed, {} unchanged",
            self.added, self.changed, self.removed, self.same
        )
    }
}

/// The path of each node's last record.
fn by_node(records: &[RawRecord]) -> HashMap<Vec<u8>, Vec<u8>> {
    records
        .iter()
        .map(|record| (record.name().to_ascii_lowercase(), record.path().to_owned()))
        .collect()
}

fn shown(path: &[u8]) -> String {
    match path {
        [] => "(the default WinPE)".to_owned(),
        path => printable(path),
    }
}
