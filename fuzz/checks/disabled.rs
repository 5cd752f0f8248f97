//! What holds for any list of disabled nodes.

use std::collections::HashSet;
use std::path::Path;

use proxydhcp::nodes::cfg::disabled::Disabled;
use proxydhcp::nodes::noderange::Known;
use proxydhcp::sys::text_file::plain;

/// The end of the message about a line with more names than there may be in all.
const TOO_MANY: &str = "names: name fewer at a time";

fn known() -> Known {
    Known::new(["n1", "n2", "N3", "n1-ib0", "odd:one"].into_iter())
}

/// Reads bytes as a list of disabled nodes, and enables and disables some of them.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn disabled(data: &[u8]) {
    let Ok(text) = plain(data.to_vec(), Path::new("disabled")) else {
        return;
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let disabled = Disabled::parse(&text, known);
    assert_eq!(disabled.text(), text);
    let lines = text.lines().count();
    for problem in disabled.problems() {
        assert!((1..=lines).contains(&problem.line) && !problem.text.is_empty());
        // Such a line may fit once the names of others have gone.
        if problem.text.contains(TOO_MANY) {
            return;
        }
    }
    let names: Vec<_> = disabled.names().map(str::to_owned).collect();
    assert!(names.iter().all(|name| disabled.contains(name)));

    // Every other name goes, and no other. A name that reads as a noderange could not come back.
    let is_plain = |name: &String| {
        let read = Disabled::parse(name, known);
        read.names().eq([name.as_str()])
    };
    let goes: HashSet<_> = names
        .iter()
        .step_by(2)
        .map(|name| name.to_ascii_lowercase())
        .filter(is_plain)
        .collect();
    let mut fewer = disabled.clone();
    fewer.remove(goes.iter().map(String::as_str));
    assert_same(&fewer);
    for name in &names {
        assert_eq!(
            fewer.contains(name),
            !goes.contains(&name.to_ascii_lowercase()),
            "{name}"
        );
    }
    // They come back.
    fewer.add(goes.iter().map(String::as_str));
    assert_same(&fewer);
    assert!(names.iter().all(|name| fewer.contains(name)));
    // Without any, only comments and lines that are wrong are left.
    let mut none = disabled;
    none.remove(names.iter().map(String::as_str));
    assert_same(&none);
    assert_eq!(none.names().count(), 0);
}

/// What is written is read as the same names.
fn assert_same(disabled: &Disabled) {
    let folded = |disabled: &Disabled| -> HashSet<_> {
        disabled.names().map(str::to_ascii_lowercase).collect()
    };
    let text = disabled.text();
    assert_eq!(
        folded(&Disabled::parse(&text, known)),
        folded(disabled),
        "{text:?}"
    );
}
