//! What holds for any file that `cfg import` reads.

use std::path::Path;
use std::sync::LazyLock;

use proxydhcp::cli::cfg::import::parse;
use proxydhcp::sys::text_file::plain;
use proxydhcp::winpe::loaders::Loaders;
use proxydhcp::winpe::path::Rules;

static LOADERS: LazyLock<Loaders> = LazyLock::new(Loaders::default);

/// Reads bytes as CSV, and again what was good in them.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn import(data: &[u8]) {
    let rules = Rules {
        tftp_root: Path::new("/tftpboot"),
        loaders: &LOADERS,
    };
    let Ok(text) = plain(data.to_vec(), Path::new("nodes.csv")) else {
        return;
    };
    let lines = parse::csv(&text, rules);
    let most = text.split(|&byte| byte == b'\n').count() as u64;
    assert!(lines.is_sorted_by_key(|line| line.number));
    let mut written = Vec::new();
    let mut records = Vec::new();
    for line in &lines {
        assert!((1..=most).contains(&line.number));
        match &line.record {
            Ok(record) => {
                assert!(record.check(rules).is_ok() && record.is_padded());
                written.extend(quoted(record.name()));
                written.push(b',');
                written.extend(quoted(record.path()));
                written.push(b'\n');
                records.push(*record);
            }
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
    let again = parse::csv(&written, rules);
    // Of the first line, a header or separator makes no record.
    let is_header = |name: &[u8]| name.eq_ignore_ascii_case(b"node") || name.starts_with(b"sep=");
    if records
        .first()
        .is_none_or(|record| !is_header(record.name()))
    {
        let again: Vec<_> = again
            .into_iter()
            .map(|line| line.record.expect("it was good"))
            .collect();
        assert_eq!(again, records);
    }
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text).replace('"', "\"\"");
    format!("\"{text}\"").into_bytes()
}
