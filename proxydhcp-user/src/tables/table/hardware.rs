//! Finds the records that hardware addresses lead to.

use std::collections::HashMap;
use std::path::Path;

use super::files::{Files, LoadError, Sources};
use crate::nodes::cfg::Warning;
use crate::nodes::cfg::hardware::{self, HardwareFile};
use crate::nodes::hardware::{Id, MacList};
use crate::sys::text_file;

/// A hardware address or UUID that leads to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) id: Id,
    /// The position of the record.
    pub(super) record: u32,
}

impl Files {
    /// Reads the files with hardware addresses, and finds their records. Of two nodes with the same
    /// address, the first has it: that of the file beside `proxydhcp.cfg`, in its order.
    pub(super) fn read_hardware(&mut self, sources: &Sources) -> Result<(), LoadError> {
        let beside = hardware::path(&sources.config);
        let file = HardwareFile::read(&sources.config).map_err(LoadError::Hardware)?;
        for (line, fault) in file.faults() {
            self.warn(&beside, line, fault);
        }
        let mut owners = HashMap::new();
        for (line, name, id) in file.ids() {
            match self.by_any_name(name) {
                Some(record) => self.claim(id, record, (&beside, line), &mut owners),
                None => self.warn(
                    &beside,
                    line,
                    &format!(
                        "there is no record of {name}; correct the name, or the line has no effect"
                    ),
                ),
            }
        }
        let Some(path) = &sources.ethers else {
            return Ok(());
        };
        let text = text_file::read(path).map_err(LoadError::Hardware)?;
        let list = MacList::parse(&String::from_utf8_lossy(&text));
        for (line, why) in list.left_out() {
            self.warn(path, *line, &format!("left out: {why}"));
        }
        // There may be many machines that are no nodes.
        for (line, mac, name) in list.owners() {
            if let Some(record) = self.by_any_name(name) {
                self.claim(Id::Mac(mac), record, (path, line), &mut owners);
            }
        }
        Ok(())
    }

    /// Gives the record a hardware address, unless another has it.
    fn claim(
        &mut self,
        id: Id,
        record: u32,
        (path, line): (&Path, usize),
        owners: &mut HashMap<Id, u32>,
    ) {
        let owner = *owners.entry(id).or_insert_with(|| {
            self.hardware.push(Claim { id, record });
            record
        });
        if owner != record {
            let (first, other) = (self.name(owner), self.name(record));
            let text = format!(
                "{id} is of both {first} and {other}; {first}, which has it first, is served by it: \
                 correct the files"
            );
            self.warn(path, line, &text);
        }
    }

    fn warn(&mut self, path: &Path, line: usize, text: &str) {
        let text = format!("{}, line {line}: {text}", path.display());
        self.warnings.push(Warning::from(text));
    }

    /// The record that has this hardware address.
    pub(super) fn by_hardware(&self, id: Id) -> Option<u32> {
        let claim = self.hardware.iter().find(|claim| claim.id == id)?;
        Some(claim.record)
    }
}
