//! What holds for any groups file.

use std::collections::HashSet;
use std::path::Path;

use proxydhcp::nodes::NAME;
use proxydhcp::nodes::noderange::{Context, Groups, Known, expand};
use proxydhcp::sys::text_file::plain;

/// Reads bytes as a groups file, and expands each group.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn groups(data: &[u8]) {
    let Ok(text) = plain(data.to_vec(), Path::new("groups")) else {
        return;
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let groups = match Groups::parse("groups", &text) {
        Ok(groups) => groups,
        Err(error) => {
            assert!(error.to_string().starts_with("groups, line "));
            return;
        }
    };
    let known = Known::new(["n1", "n2", "n1-ib0"].into_iter());
    let context = Context {
        known: &known,
        groups: Some(&groups),
        read: &|_| Ok("n7".to_owned()),
    };
    for name in text
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
    {
        let Ok(names) = expand(&format!("@{name}"), &context) else {
            continue;
        };
        let different: HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        assert!(names.iter().all(|name| (1..=NAME).contains(&name.len())));
        // A group has all of itself, and nothing without itself; as far as its name is not also an
        // exclusion or the like.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            continue;
        }
        let both = expand(&format!("(@{name})@({name})"), &context);
        if let Ok(both) = both
            && !known.contains(name)
        {
            assert_eq!(both, names);
        }
        if let Ok(none) = expand(&format!("@{name},-@{name}"), &context) {
            assert!(none.is_empty());
        }
    }
}
