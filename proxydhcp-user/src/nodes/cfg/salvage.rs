//! Separates the sound records of a damaged file from the rest.
//!
//! A file of whole records is split record by record, by the daemon's rules; bytes behind a record's
//! texts are cleared. If the size shows that
//! bytes were lost or added, the records after that place are out of step, and many of them look
//! sound although they begin inside another. The rule is stricter then, and doubtful parts are not
//! kept:
//!
//! - A record counts only if nothing but NULs follows its texts. One that begins at the wrong byte
//!   ends with another's name, or has a path in the padding of its name.
//! - After bytes that make no such record, the next record is searched for byte by byte. A
//!   candidate counts if another record follows it, or too few bytes for another, and if it is in
//!   step or the byte before it is a NUL; otherwise its name may begin earlier.
//! - If those bytes are not whole records and begin with a NUL, then the record before them is
//!   longer than it should be. Its text may be what grew, so it is not kept either.

use std::ops::Range;

use super::RECORD;
use super::edit::{RawRecord, raw_records};
use crate::sys::xcat::node_set;
use crate::winpe::path::Rules;

/// The parts of a file that are kept and those that are not. Together they are all its bytes.
#[derive(Debug, Default)]
pub struct Salvage {
    /// The records that are kept, in the file's order.
    pub kept: Vec<RawRecord>,
    /// The rest, in the file's order.
    pub rejected: Vec<Rejected>,
    /// The records that are kept without the bytes behind their texts, in the file's order.
    pub cleared: Vec<Rejected>,
    /// Whether any record is as a writer leaves it. In noise, none is.
    pub written: bool,
}

/// A part of a file that is not kept as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its position in the file, in bytes.
    pub bytes: Range<usize>,
    /// Why it is not kept.
    pub reason: String,
}

/// Splits a file's bytes.
pub fn salvage(bytes: &[u8], rules: Rules<'_>) -> Salvage {
    match raw_records(bytes) {
        (records, []) => part(records, rules),
        _ => resynchronize(bytes, rules),
    }
}

fn part(records: &[RawRecord], rules: Rules<'_>) -> Salvage {
    let rejected = |number: usize, reason| Rejected {
        bytes: number * RECORD..(number + 1) * RECORD,
        reason,
    };
    let mut salvage = Salvage::default();
    for (number, record) in records.iter().enumerate() {
        match record.check(rules) {
            Ok(()) => {
                salvage.written |= record.is_written();
                match record.cleared() {
                    None => salvage.kept.push(*record),
                    Some((cleared, reason)) => {
                        salvage.kept.push(cleared);
                        salvage.cleared.push(rejected(number, reason));
                    }
                }
            }
            Err(fault) => salvage.rejected.push(rejected(number, fault.to_string())),
        }
    }
    salvage
}

fn resynchronize(bytes: &[u8], rules: Rules<'_>) -> Salvage {
    let at = |start: usize| -> Option<&RawRecord> {
        let record = raw_records(bytes.get(start..start + RECORD)?).0.first()?;
        (record.is_padded() && record.check(rules).is_ok()).then_some(record)
    };
    let is_start = |after: usize, start: usize| {
        let next = start + RECORD;
        let in_step = (start - after).is_multiple_of(RECORD);
        let behind_padding = bytes.get(start - 1) == Some(&0);
        (in_step || behind_padding)
            && at(start).is_some()
            && (next + RECORD > bytes.len() || at(next).is_some())
    };
    let mut salvage = Salvage::default();
    let mut start = 0;
    // Whether the last kept record ends at `start`.
    let mut follows = false;
    while start < bytes.len() {
        if let Some(record) = at(start) {
            salvage.kept.push(*record);
            start += RECORD;
            follows = true;
            continue;
        }
        let end = (start + 1..bytes.len()).find(|&end| is_start(start, end));
        let end = end.unwrap_or(bytes.len());
        let in_step = (end - start).is_multiple_of(RECORD);
        let grown = follows && !in_step && bytes.get(start) == Some(&0);
        if grown {
            salvage.kept.pop();
            start -= RECORD;
        }
        let reason = if in_step {
            "not a sound record"
        } else if end == bytes.len() && end - start < RECORD {
            "a record that is cut off"
        } else if end - start < RECORD {
            "bytes are missing here"
        } else {
            "surplus bytes in here"
        };
        salvage.rejected.push(Rejected {
            bytes: start..end,
            reason: format!("{reason}; run {} for the nodes in it again", node_set()),
        });
        start = end;
        follows = false;
    }
    salvage.written = !salvage.kept.is_empty();
    salvage
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use std::path::Path;

    use super::*;

    fn rules() -> Rules<'static> {
        Rules::within(Path::new("/tftpboot"))
    }

    fn records(count: usize) -> Vec<RawRecord> {
        let paths = ["winboot/winpe-a/", "", "/tftpboot/winboot/b", "x"];
        (0..count)
            .map(|number| {
                RawRecord::new(&format!("cn{number:04}"), paths[number % 4], rules()).unwrap()
            })
            .collect()
    }

    /// Salvages, and checks that no byte is lost or duplicated.
    fn salvaged(bytes: &[u8]) -> Salvage {
        let salvage = salvage(bytes, rules());
        let rejected: usize = salvage.rejected.iter().map(|r| r.bytes.len()).sum();
        assert_eq!(salvage.kept.len() * RECORD + rejected, bytes.len());
        let ordered = salvage.rejected.is_sorted_by_key(|r| r.bytes.start);
        assert!(ordered, "{salvage:?}");
        salvage
    }

    #[test]
    fn of_whole_records_the_bad_ones_go_and_odd_padding_is_cleared() {
        let mut bytes = records(5).as_bytes().to_vec();
        bytes[199] = b'!';
        bytes[400..450].fill(0);
        bytes[850..853].copy_from_slice(b"/..");
        let Salvage {
            kept,
            rejected,
            cleared,
            written,
        } = salvaged(&bytes);
        let whole = records(5);
        assert_eq!(kept, [whole[0], whole[1], whole[3]]);
        assert_eq!(cleared.len(), 1);
        assert_eq!(cleared[0].bytes, 0..200);
        assert!(
            cleared[0]
                .reason
                .starts_with("! stands behind the WinPE path of cn0000")
        );
        assert!(written);
        let told: Vec<_> = rejected.iter().map(|r| r.bytes.clone()).collect();
        assert_eq!(told, [400..600, 800..1000]);
        assert!(rejected[0].reason.contains("name is empty"));
    }

    #[test]
    fn a_writer_that_was_cut_off_costs_its_last_record() {
        let records = records(5);
        for lost in 1..RECORD {
            let bytes = records.as_bytes();
            let Salvage { kept, rejected, .. } = salvaged(&bytes[..bytes.len() - lost]);
            assert_eq!(kept, records[..4], "{lost}");
            assert_eq!(rejected.len(), 1, "{lost}");
            assert!(
                rejected[0].reason.starts_with("a record that is cut off"),
                "{rejected:?}"
            );
        }
    }

    #[test]
    fn no_record_is_kept_that_was_not_there_wherever_a_byte_is_added_or_lost() {
        let records = records(9);
        let bytes = records.as_bytes();
        for at in 0..=bytes.len() {
            for stray in [Some(0), Some(b'x'), Some(0xff), None] {
                let mut damaged = bytes.to_vec();
                match stray {
                    Some(stray) => damaged.insert(at, stray),
                    None if at < bytes.len() => drop(damaged.remove(at)),
                    None => continue,
                }
                let Salvage { kept, rejected, .. } = salvaged(&damaged);
                assert!(!rejected.is_empty(), "{at} {stray:?}");
                assert!(kept.len() >= 7, "{at} {stray:?}: {rejected:?}");
                for record in &kept {
                    assert!(records.contains(record), "{at} {stray:?}: {record:?}");
                }
            }
        }
    }

    #[test]
    fn noise_is_all_rejected() {
        let noise: Vec<u8> = (0..5001u32)
            .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1])
            .collect();
        assert!(salvaged(&noise).kept.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_part(bytes in prop::collection::vec(prop::sample::select(
            vec![0, 0, 0, 0, 0, 0, b'a', b'/', 0xff],
        ), 0..1200)) {
            salvaged(&bytes);
        }
    }
}
