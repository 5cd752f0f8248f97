//! What known nodes boot: all of a `proxydhcp.cfg` that is new if the nodes are the same.

use std::path::Path;

use super::{NAME, RECORD, leftover, split};
use crate::sys::file::{self, FileError};
use crate::winpe::path::{Rules, WinPe, WinPes};

/// What known nodes boot, by their records in the order of the file: each WinPE once, and where in that list
/// each record's is.
#[derive(Debug)]
pub(crate) struct Boots<'r> {
    winpes: WinPes<'r>,
    boots: Vec<usize>,
}

impl<'r> Boots<'r> {
    /// What the records say that are to come, of so many nodes.
    pub(crate) fn new(rules: Rules<'r>, nodes: usize) -> Self {
        Self {
            winpes: WinPes::new(rules),
            boots: Vec::with_capacity(nodes),
        }
    }

    /// What the records of the file at `path` boot, of so many nodes with these names. `None` if that does not
    /// suffice ([`Self::enter`]), or the file changes: then [`cfg::read`](super::read) says what there is. Only
    /// a piece of the file is in memory at a time.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn read<'n>(
        path: &Path,
        rules: Rules<'r>,
        nodes: usize,
        name: impl Fn(usize) -> Option<&'n str>,
    ) -> Result<Option<Self>, FileError> {
        const PIECE: usize = 512 * RECORD;
        let mut boots = Self::new(rules, nodes);
        let is_whole = file::read_in_pieces(path, PIECE, |piece| boots.enter(piece, &name))?;
        Ok(is_whole.then_some(boots))
    }

    /// Enters the next records, whose nodes have these names by the positions of the records. Returns whether
    /// that suffices: if a record has another name, is not as a writer leaves it or cannot be served,
    /// [`cfg::parse`](super::parse) says what there is.
    pub(crate) fn enter<'n>(
        &mut self,
        records: &[u8],
        name: impl Fn(usize) -> Option<&'n str>,
    ) -> bool {
        let (records, rest) = records.as_chunks::<RECORD>();
        let is_entered = |record| self.enter_one(record, &name).is_some();
        records.iter().all(is_entered) && rest.is_empty()
    }

    fn enter_one<'n>(
        &mut self,
        record: &[u8; RECORD],
        name: impl Fn(usize) -> Option<&'n str>,
    ) -> Option<()> {
        let (its_name, path) = record.split_at(NAME);
        let name = name(self.boots.len())?;
        let after_name = its_name.strip_prefix(name.as_bytes())?;
        let (path, after_path) = split(path);
        let is_plain = leftover::is_padding(after_name) && leftover::is_padding(after_path);
        let winpe = self.winpes.index(path).ok().filter(|_| is_plain)?;
        self.boots.push(winpe);
        Some(())
    }

    /// The WinPEs, and where among them that of each record is.
    pub(crate) fn done(self) -> (Vec<WinPe>, Vec<usize>) {
        (self.winpes.list, self.boots)
    }
}
