//! What a viewer knows.

use super::rows;
use super::{Named, Position, Row, Totals, Update};

/// The storm as far as a viewer knows it.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The position to ask from.
    pub position: Position,
    /// When that was, in milliseconds since 1970.
    pub now: u64,
    /// Sums over all nodes.
    pub totals: Totals,
    /// The groups of nodes, and how many each has, in the order of nodes.
    pub groups: Vec<(String, u32)>,
    /// The paths of WinPEs.
    pub winpes: Vec<String>,
    /// The nodes.
    pub nodes: Vec<Named>,
    /// Their states.
    pub rows: Vec<Row>,
}

impl View {
    /// Takes an update up; false if it is none.
    #[must_use]
    pub fn take(&mut self, update: Update) -> bool {
        let Some(rows) = rows::read(&update.rows, update.now) else {
            return false;
        };
        if let Some(names) = update.names {
            let Some(nodes) = names.read() else {
                return false;
            };
            self.rows = vec![Row::default(); nodes.len()];
            self.nodes = nodes;
            self.groups = names.groups;
            self.winpes = names.winpes;
        }
        for (node, row) in rows {
            let Some(place) = self.rows.get_mut(node as usize) else {
                return false;
            };
            *place = row;
        }
        self.position = update.position;
        self.now = update.now;
        self.totals = update.totals;
        true
    }
}
