//! Finds the records that hardware addresses lead to.

use std::collections::HashMap;
use std::path::Path;

use crate::nodes::cfg::Warning;
use crate::nodes::cfg::hardware::HardwareFile;
use crate::nodes::hardware::{Id, MacList};

/// A hardware address or UUID that leads to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) id: Id,
    /// The position of the record.
    pub(super) record: u32,
}

/// The result of joining files of hardware addresses with the records.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// The claims, each hardware address once.
    pub(super) claims: Vec<Claim>,
    pub(super) warnings: Vec<Warning>,
    /// The record of each hardware address.
    owners: HashMap<Id, u32>,
}

/// Finds the records that hardware addresses lead to: `record` finds that of a name, and `name` has the
/// names of records. Of two nodes with the same address, the first has it: that of `beside`, the path
/// and the text of the file beside `proxydhcp.cfg`, in its order, before those of `ethers`.
pub(super) fn join<'n>(
    (beside, text): (&Path, &str),
    ethers: Option<(&Path, &[u8])>,
    record: impl Fn(&str) -> Option<u32>,
    name: impl Fn(u32) -> &'n str,
) -> Joined {
    let mut joined = Joined::default();
    let file = HardwareFile::parse(text);
    for (line, fault) in file.faults() {
        joined.warn(beside, line, fault);
    }
    for (line, owner, id) in file.ids() {
        match record(owner) {
            Some(record) => joined.claim(Claim { id, record }, (beside, line), &name),
            None => joined.warn(
                beside,
                line,
                &format!(
                    "there is no record of {owner}; correct the name, or the line has no effect"
                ),
            ),
        }
    }
    let Some((path, text)) = ethers else {
        return joined;
    };
    let list = MacList::parse(&String::from_utf8_lossy(text));
    for (line, why) in list.left_out() {
        joined.warn(path, *line, &format!("left out: {why}"));
    }
    // There may be many machines that are no nodes.
    for (line, mac, owner) in list.owners() {
        if let Some(record) = record(owner) {
            let id = Id::Mac(mac);
            joined.claim(Claim { id, record }, (path, line), &name);
        }
    }
    joined
}

impl Joined {
    /// Enters a claim, unless another record has the hardware address.
    fn claim<'n>(
        &mut self,
        claim: Claim,
        (path, line): (&Path, usize),
        name: impl Fn(u32) -> &'n str,
    ) {
        let id = claim.id;
        let owner = *self.owners.entry(id).or_insert_with(|| {
            self.claims.push(claim);
            claim.record
        });
        if owner != claim.record {
            let (first, other) = (name(owner), name(claim.record));
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
}
