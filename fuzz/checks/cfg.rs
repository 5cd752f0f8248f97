//! What holds for any `proxydhcp.cfg`.

use std::path::Path;
use std::sync::LazyLock;

use proxydhcp::cli::cfg::{dump, import};
use proxydhcp::nodes::NAME;
use proxydhcp::nodes::cfg::edit::{RawRecord, put, raw_records};
use proxydhcp::nodes::cfg::salvage::{Salvage, salvage};
use proxydhcp::nodes::cfg::{RECORD, parse};
use proxydhcp::winpe::loaders::Loaders;
use proxydhcp::winpe::path::Rules;
use zerocopy::IntoBytes;

static LOADERS: LazyLock<Loaders> = LazyLock::new(Loaders::default);

fn rules() -> Rules<'static> {
    Rules {
        tftp_root: Path::new("/tftpboot"),
        loaders: &LOADERS,
    }
}

/// Serves, repairs, changes, dumps and imports bytes as a `proxydhcp.cfg`.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn cfg(data: &[u8]) {
    check_records(data);
    let Salvage { kept, rejected, .. } = salvage(data, rules());
    // No byte is lost or doubled.
    let lost: usize = rejected.iter().map(|rejected| rejected.bytes.len()).sum();
    assert_eq!(kept.len() * RECORD + lost, data.len());
    check_kept(data, &kept);
    check_import(&kept);
    check_put(&kept);
}

/// What of a file is served.
fn check_records(data: &[u8]) {
    let (raw, _) = raw_records(data);
    let served = parse(data, rules());
    let sound = raw.iter().filter(|record| is_sound(record)).count();
    assert_eq!(sound + served.refused.len(), raw.len());
    for (position, record) in (0..).zip(&served.records) {
        let number = record.number as usize;
        assert_eq!(raw[number - 1].name(), record.name.as_bytes());
        assert!(is_sound(&raw[number - 1]));
        assert!(record.name.len() <= NAME && record.winpe < served.winpes.len());
        assert_eq!(served.position(record.name.as_bytes()), Some(position));
        // Of several with one name, the last is served.
        let later = &raw[number..];
        assert!(
            !later
                .iter()
                .any(|later| is_sound(later) && later.is_of(record.name))
        );
    }
    for denied in &served.denied {
        let of_it = |record: &&RawRecord| record.is_of(denied.name);
        assert!(!raw.iter().filter(of_it).any(is_sound));
        assert!(served.position(denied.name.as_bytes()) >= Some(0));
    }
}

fn is_sound(record: &RawRecord) -> bool {
    record.check(rules()).is_ok()
}

/// `proxydhcp cfg repair`.
fn check_kept(data: &[u8], kept: &[RawRecord]) {
    assert!(kept.iter().all(is_sound));
    if let (raw, []) = raw_records(data) {
        // Every sound record survives in its place, with nothing behind its texts.
        let texts = |record: &RawRecord| (record.name().to_vec(), record.path().to_vec());
        let sound = raw.iter().filter(|record| is_sound(record));
        assert!(sound.map(texts).eq(kept.iter().map(texts)));
        assert!(kept.iter().all(RawRecord::is_padded));
    } else {
        // What is kept was there, in this order.
        let mut rest = data;
        for record in kept {
            assert!(record.is_padded());
            let at = rest.windows(RECORD).position(|at| at == record.as_bytes());
            rest = &rest[at.expect("it is in the file") + RECORD..];
        }
    }
    // There is nothing left to repair.
    let again = salvage(kept.as_bytes(), rules());
    assert_eq!(again.kept, kept);
    assert!(again.rejected.is_empty() && again.cleared.is_empty());
}

/// `proxydhcp cfg dump --json`, and `cfg import` of that; and what is imported from CSV.
fn check_import(kept: &[RawRecord]) {
    let text = dump::json(kept, rules()).expect("texts can be written");
    let lines = import::parse::json(text.as_bytes(), rules()).expect("it is a list");
    assert_eq!(lines.len(), kept.len());
    for (line, record) in lines.iter().zip(kept) {
        let imported = line.record.as_ref().expect("it is sound");
        assert_eq!(
            (imported.name(), imported.path()),
            (record.name(), record.path())
        );
        assert!(imported.is_padded() && (imported == record || !record.is_padded()));
    }
}

/// `proxydhcp node` and `cfg import`: the records of some nodes are replaced.
fn check_put(kept: &[RawRecord]) {
    let Some((new, _)) = kept.split_last() else {
        return;
    };
    let (new, name) = ([*new], new.name());
    let is_of = |record: &&RawRecord| record.name().eq_ignore_ascii_case(name);
    let mut after = kept.to_vec();
    put(&mut after, &new);
    assert!(after.iter().filter(is_of).eq(&new));
    // All others are as they were.
    let others = |record: &&RawRecord| !is_of(record);
    assert!(after.iter().filter(others).eq(kept.iter().filter(others)));
    let once = after.clone();
    put(&mut after, &new);
    assert_eq!(after, once);
}
