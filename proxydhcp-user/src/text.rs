//! Lists and numbers in messages.

use std::borrow::Cow;
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// The number of entries of a list that are shown to people; `--json` has all of them.
pub(crate) const SHOWN: usize = 20;

/// The first entries of a list, and the length of the whole list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Few<T> {
    /// The first entries.
    pub first: Vec<T>,
    /// The length of the list, these entries included.
    pub count: usize,
}

impl<T> Few<T> {
    /// The first entries of a list.
    pub(crate) fn of(mut list: impl Iterator<Item = T>) -> Self {
        let first: Vec<_> = list.by_ref().take(SHOWN).collect();
        let count = first.len().saturating_add(list.count());
        Self { first, count }
    }

    /// The entries that would come first if the list were sorted.
    pub(crate) fn least(mut list: Vec<T>) -> Self
    where
        T: Ord,
    {
        let count = list.len();
        if count > SHOWN {
            list.select_nth_unstable(SHOWN);
            list.truncate(SHOWN);
        }
        list.sort_unstable();
        Self { first: list, count }
    }

    /// Converts each entry.
    pub(crate) fn map<U>(self, to: impl FnMut(T) -> U) -> Few<U> {
        Few {
            first: self.first.into_iter().map(to).collect(),
            count: self.count,
        }
    }

    /// The number of entries beyond those kept.
    pub(crate) fn more(&self) -> usize {
        self.count.saturating_sub(self.first.len())
    }
}

/// Prints the first entries on one line, followed by the number of further ones.
impl fmt::Display for Few<String> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.first.join(", "), and_more(self.more()))
    }
}

/// States how many entries a list has beyond those shown; empty if there are none.
pub(crate) fn and_more(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(" and {count} more"),
    }
}

/// The first entries of a list on one line, followed by the number of further ones.
pub(crate) fn listed<S: AsRef<str>>(list: &[S]) -> String {
    first_of(list, SHOWN, ", ")
}

/// The first `limit` entries of a list, joined by `separator`, followed by the number of further
/// ones.
pub(crate) fn first_of<S: AsRef<str>>(list: &[S], limit: usize, separator: &str) -> String {
    let first = list.get(..limit).unwrap_or(list);
    let more = and_more(list.len() - first.len());
    let first: Vec<_> = first.iter().map(AsRef::as_ref).collect();
    format!("{}{more}", first.join(separator))
}

/// The text with unprintable characters escaped. Those that can be printed stay as they are,
/// backslashes too.
pub fn printable(text: &[u8]) -> String {
    let mut printable = String::new();
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\\' | '\'' | '"' => printable.push(char),
                char => printable.extend(char.escape_debug()),
            }
        }
        printable.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    printable
}

/// A text for people, in which characters are escaped that nobody sees, or that change the order of
/// others: names and paths come from files, and none may look like another. They are written as JSON
/// writes them, so that JSON remains what it is. Line feeds and colours stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len());
    for char in text.chars() {
        if is_deceptive(char) {
            let _ = write!(visible, "\\u{:04x}", u32::from(char));
        } else {
            visible.push(char);
        }
    }
    Cow::Owned(visible)
}

/// Whether it is a control character beyond ASCII, of zero width, or for the direction of the text.
const fn is_deceptive(char: char) -> bool {
    matches!(
        char,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

/// An error and its causes on one line, each once: many an error names its cause itself.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// A number with its noun: `1 node`, `2 nodes`, `2 replies`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        return format!("1 {noun}");
    }
    match noun.strip_suffix('y') {
        Some(stem) => format!("{number} {stem}ies"),
        None if noun.ends_with('s') => format!("{number} {noun}es"),
        None => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_list_are_told_and_how_many_more_there_are() {
        let many = (0..50).map(|n| format!("n{n:02}"));
        let told = Few::of(many.clone());
        assert!(told.to_string().starts_with("n00, n01, "));
        assert!(told.to_string().ends_with(", n19 and 30 more"));
        assert_eq!(Few::least(many.clone().rev().collect()), told);
        let few = Few::least(many.clone().take(2).collect());
        assert_eq!(few.to_string(), "n00, n01");
        let many: Vec<_> = many.collect();
        assert_eq!(listed(&many), told.to_string());
        assert_eq!(first_of(&many, 2, "; "), "n00; n01 and 48 more");
        assert_eq!(listed(&["n00"]), "n00");
    }

    #[test]
    fn what_cannot_be_printed_is_escaped_and_nothing_else() {
        let text = b"winboot\\x 'y' \"z\" \xc3\xa9\x1b[2J\n\xff";
        let told = "winboot\\x 'y' \"z\" \u{e9}\\u{1b}[2J\\n\\xff";
        assert_eq!(printable(text), told);
        assert_eq!(printable(printable(b"a\\b").as_bytes()), "a\\b");
    }

    #[test]
    fn what_nobody_sees_is_escaped_as_in_json() {
        let text = "a\u{202e}b\u{200b}\u{2066}\u{9b}\n\u{1b}[1mé日";
        let told = visible(text);
        assert_eq!(told, "a\\u202eb\\u200b\\u2066\\u009b\n\u{1b}[1mé日");
        let json = serde_json::to_string("a\u{202e}").unwrap();
        let read: String = serde_json::from_str(&visible(&json)).unwrap();
        assert_eq!(read, "a\u{202e}");
        assert!(matches!(visible("n01"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_cause_is_told_once() {
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let named = anyhow::Error::new(denied()).context("/f: permission denied; look there");
        assert_eq!(with_causes(&named), "/f: permission denied; look there");
        let bare = anyhow::Error::new(denied()).context("cannot open /f");
        assert_eq!(with_causes(&bare), "cannot open /f: permission denied");
    }

    #[test]
    fn plurals_agree_with_their_number() {
        let counted = [0, 1, 2].map(|number| count(number, "record"));
        assert_eq!(counted, ["0 records", "1 record", "2 records"]);
        assert_eq!(count(2, "reply"), "2 replies");
        assert_eq!(count(2, "address"), "2 addresses");
    }
}
