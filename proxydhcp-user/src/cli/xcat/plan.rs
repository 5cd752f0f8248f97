//! What `proxydhcp xcat sync` makes of a file.

use std::collections::{HashMap, HashSet};
use std::fmt;

use anyhow::{Result, bail};
use zerocopy::IntoBytes;

use crate::cli::cfg::changes::Changes;
use crate::cli::cfg::repair::not_kept;
use crate::nodes::cfg::edit::RawRecord;
use crate::nodes::cfg::salvage::salvage;
use crate::nodes::xcat::records::Wanted;
use crate::text::{SHOWN, and_more, count};
use crate::winpe::path::Rules;

/// The file as it is and as it should be.
pub(super) struct Plan {
    after: Vec<RawRecord>,
    /// The damaged parts of the file.
    damaged: Vec<String>,
    changes: Changes,
    is_change: bool,
}

impl Plan {
    /// Compares a file's bytes with what is wanted. Records that stay keep their order.
    pub(super) fn new(bytes: &[u8], wanted: &Wanted, rules: Rules<'_>) -> Self {
        let salvage = salvage(bytes, rules);
        let before = &salvage.kept;
        let key = |name: &[u8]| name.to_ascii_lowercase();
        let records = wanted.records.iter();
        let mut waiting: HashMap<Vec<u8>, &RawRecord> =
            records.map(|record| (key(record.name()), record)).collect();
        let faults = wanted.faults.iter();
        let doubtful: HashSet<Vec<u8>> = faults.map(|(node, _)| key(node.as_bytes())).collect();
        let mut after: Vec<RawRecord> = Vec::with_capacity(wanted.records.len());
        for record in before {
            let name = key(record.name());
            if let Some(record) = waiting.remove(&name) {
                after.push(*record);
            } else if doubtful.contains(&name) {
                after.push(*record);
            }
        }
        let new = wanted.records.iter();
        after.extend(new.filter(|record| waiting.contains_key(&key(record.name()))));
        Self {
            damaged: not_kept(&salvage, bytes),
            changes: Changes::new(before, &after),
            is_change: after.as_bytes() != bytes,
            after,
        }
    }

    /// The records that the file should have.
    pub(super) fn bytes(&self) -> &[u8] {
        self.after.as_slice().as_bytes()
    }

    /// Whether the file differs from them in any byte.
    pub(super) fn is_change(&self) -> bool {
        self.is_change
    }

    /// Whether no record is left.
    pub(super) fn is_empty(&self) -> bool {
        self.after.is_empty()
    }

    /// The numbers of records that are added, changed and so on.
    pub(super) fn summary(&self) -> String {
        self.changes.summary()
    }

    /// Fails if more than `percent` of the sound records would go.
    pub(super) fn check_loss(&self, percent: u16) -> Result<()> {
        let Changes {
            removed,
            changed,
            same,
            ..
        } = self.changes;
        let before = removed + changed + same;
        if removed * 100 <= before * usize::from(percent) {
            return Ok(());
        }
        bail!(
            "nothing was written: {removed} of {} would go, more than {percent} %; if xCAT's tables \
             are right, use --allow-loss 100",
            count(before, "record")
        );
    }
}

/// The differences, one on each line, and their number. Without differences, it says so.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for lines in [&self.damaged, &self.changes.lines] {
            for line in lines.iter().take(SHOWN) {
                writeln!(f, "{line}")?;
            }
            let more = and_more(lines.len().saturating_sub(SHOWN));
            if !more.is_empty() {
                writeln!(f, "{}", more.trim_start())?;
            }
        }
        f.write_str(&self.changes.summary())?;
        if !self.is_change {
            write!(f, "; the file is what xCAT's tables say")?;
        }
        Ok(())
    }
}
