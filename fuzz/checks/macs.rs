//! What holds for any file of hardware addresses.

use std::path::Path;

use proxydhcp::nodes::hardware::MacList;
use proxydhcp::sys::text_file::plain;

/// Reads bytes as a file of hardware addresses.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn macs(data: &[u8]) {
    let Ok(text) = plain(data.to_vec(), Path::new("macs")) else {
        return;
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let list = MacList::parse(&text);
    let lines = text.lines().count();
    for (line, why) in list.left_out() {
        assert!((1..=lines).contains(line) && !why.is_empty());
    }
    let words = text.split(|char: char| char.is_whitespace() || ",;\"'!|#".contains(char));
    for name in words {
        for mac in list.of(name) {
            assert!(mac.0[0] & 1 == 0 && mac.0 != [0; 6], "{mac}");
            // It is read as it is printed.
            let again = MacList::parse(&format!("node {mac}"));
            assert_eq!(again.of("node"), [*mac]);
        }
    }
    // However odd a file is, a good line at its end counts.
    let more = MacList::parse(&format!("{text}\nthe-last-one f2:f3:f4:f5:f6:f7\n"));
    let taken = more
        .left_out()
        .iter()
        .any(|(_, why)| why.contains("f2:f3:f4:f5:f6:f7"));
    assert!(taken || !more.of("the-last-one").is_empty());
    // So does a file with the line ends of another system.
    let dos = MacList::parse(&text.replace('\n', "\r\n"));
    assert_eq!(dos.left_out().len(), list.left_out().len());
}
