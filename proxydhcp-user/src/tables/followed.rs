//! Which nodes are followed, and by what numbers: see [`proxydhcp_common::activity`].

use proxydhcp_common::nodes::Target;

use crate::tables::table::Table;

/// The number of each record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    numbers: Vec<u32>,
    /// The number that is past all that have a record of their activity.
    end: u32,
}

impl Followed {
    /// The first number that a node can have.
    pub const FIRST: u32 = Target::ANONYMOUS + 1;

    /// These numbers, by record, below `end`; nodes that are not followed have [`Target::ANONYMOUS`].
    pub(crate) fn new(numbers: Vec<u32>, end: u32) -> Self {
        Self { numbers, end }
    }

    /// The nodes of a table in their order, for tools that have no daemon.
    pub fn in_order(table: &Table) -> Self {
        let end = Self::FIRST.saturating_add(u32::try_from(table.len()).unwrap_or(u32::MAX));
        Self::new((Self::FIRST..end).collect(), end)
    }

    /// The number of this record; `None` if its node is not followed.
    pub fn number(&self, record: u32) -> Option<u32> {
        let number = self.numbers.get(usize::try_from(record).ok()?)?;
        (*number > Target::ANONYMOUS).then_some(*number)
    }

    /// The largest number that is given out.
    pub(crate) fn highest(&self) -> u32 {
        self.numbers.iter().copied().max().unwrap_or_default()
    }

    /// The number that is past all that have a record of their activity.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }
}
