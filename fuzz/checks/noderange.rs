//! What holds for any noderange.

use std::collections::HashSet;

use proxydhcp::nodes::NAME;
use proxydhcp::nodes::noderange::{Context, Groups, Known, LIMIT, expand};

/// Expands the first line of a text, with the others as groups file, and as the file of each `^FILE`.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn noderange(data: &[u8]) {
    let text = &String::from_utf8_lossy(data);
    let (range, rest) = text.split_once('\n').unwrap_or((text, ""));
    let groups = Groups::parse("groups", rest).unwrap_or_else(|_| Groups::none("groups"));
    let known = Known::new(["n1", "n2", "n1-ib0"].into_iter());
    let context = Context {
        known: &known,
        groups: Some(&groups),
        read: &|_| Ok(rest.to_owned()),
    };
    match expand(range, &context) {
        Ok(names) => {
            assert!(names.len() <= LIMIT);
            assert!(
                names
                    .iter()
                    .all(|name| !name.is_empty() && name.len() <= NAME)
            );
            let different: HashSet<_> = names.iter().collect();
            assert_eq!(different.len(), names.len());
        }
        Err(error) => {
            let error = error.to_string();
            let mut lines = error.lines().rev();
            let mut last = || lines.next().unwrap_or_default();
            let (caret, shown, message) = (last(), last(), last());
            assert!(!message.is_empty(), "{error}");
            assert!(caret.trim_start() == "^", "{error}");
            // Under a character, or right behind the last.
            assert!(
                caret.chars().count() <= shown.chars().count() + 1,
                "{error}"
            );
        }
    }
}
