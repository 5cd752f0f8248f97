//! Errors in a noderange, and where they are.

use std::fmt;

use super::{Groups, LIMIT};
use crate::nodes::NAME;
use crate::text::first_of;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing between two commas, or after a sign.
    #[error("a name is missing here")]
    Missing,
    /// A `[` alone.
    #[error("this bracket is not closed")]
    Unclosed,
    /// A `]` alone.
    #[error("this bracket was not opened")]
    Unopened,
    /// A character that host names do not have.
    #[error("{0:?} cannot be in a node name")]
    Character(char),
    /// A name that begins with a hyphen or a dot.
    #[error("a node name begins with a letter or a digit")]
    Begin,
    /// A `(` alone.
    #[error("this parenthesis is not closed")]
    UnclosedParenthesis,
    /// Too many `(` within each other.
    #[error("there are too many parentheses within each other")]
    Depth,
    /// Something right behind a closing parenthesis.
    #[error("a comma or '@' is expected here")]
    Comma,
    /// `mgt==ipmi`
    #[error("attributes of nodes are in xCAT's tables, which are not read here: name the nodes")]
    Attribute,
    /// No digits where some must be.
    #[error("a number is expected here, as in n[01-10,12] or n10+3")]
    NoNumber,
    /// A number beyond the range of integers.
    #[error("the number is too large")]
    LargeNumber,
    /// The last number is less than the first.
    #[error("the range runs backwards: the lower number comes first")]
    Backwards,
    /// Two numbers with a different number of leading zeros.
    #[error("the numbers have different leading zeros: write both with as many digits")]
    Zeros,
    /// `n1+` without a number before the sign.
    #[error("there must be a number before the '+', as in n10+3")]
    NoNumberAtEnd,
    /// `10` for `node10`.
    #[error("a number alone is no node name: write names in full, such as node10-node20")]
    Short,
    /// Two names around a colon that differ in more than numbers.
    #[error("both sides of a range must be alike except for one number, as in n01:n10")]
    Unlike,
    /// Two names that differ in several numbers.
    #[error("the names differ in several numbers: use brackets, as in f[1-2]n[1-3]")]
    SeveralNumbers,
    /// A name that does not fit into a record.
    #[error("the name has up to {0} characters, and a record holds {NAME}")]
    Long(usize),
    /// More than [`LIMIT`] names.
    #[error("the noderange has more than {LIMIT} names: name fewer at a time")]
    TooMany,
    /// The groups file does not define the group.
    #[error("there is no group {name} in {source_name}{known}")]
    UnknownGroup {
        /// The group.
        name: String,
        /// The groups file.
        source_name: String,
        /// The existing groups, as the end of the sentence.
        known: String,
    },
    /// A group where there is no groups file.
    #[error("groups cannot be used here: name their nodes")]
    NoGroups,
    /// A group that contains itself.
    #[error("group {0} is part of itself")]
    Circle(String),
    /// Groups that contain each other, too many levels deep.
    #[error("there are too many groups within each other")]
    GroupDepth,
    /// A `^` in a file or a group.
    #[error("only the noderange itself can refer to a file, not a file or group within it")]
    FileWithin,
    /// The file of `^` cannot be read.
    #[error("{0}")]
    File(String),
    /// An invalid regular expression.
    #[error("the regular expression is wrong: {0}")]
    Regex(String),
}

impl Fault {
    pub(super) fn regex(error: &regex::Error) -> Self {
        // The error draws the expression over several lines, and names the fault in the last.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        Self::Regex(last.trim_start_matches("error: ").to_owned())
    }

    pub(super) fn unknown_group(name: &str, groups: &Groups) -> Self {
        const SHOWN: usize = 10;
        let names: Vec<_> = groups.names().collect();
        let known = match names.as_slice() {
            [] => String::new(),
            names => format!("; it has {}", first_of(names, SHOWN, ", ")),
        };
        Self::UnknownGroup {
            name: name.to_owned(),
            source_name: groups.source().to_owned(),
            known,
        }
    }
}

/// A fault in a noderange, printed with the text and a caret under the fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeError {
    /// What is wrong.
    pub fault: Fault,
    /// The line of the groups file or of another file that contains the text, if it was not given
    /// directly.
    pub place: Option<String>,
    text: String,
    column: usize,
}

impl RangeError {
    /// Places `fault` at byte `at` of `text`.
    pub(super) fn new(place: Option<String>, text: &str, at: usize, fault: Fault) -> Self {
        let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
        let (before, cut) = last(before);
        let after = first(after);
        Self {
            fault,
            place,
            text: format!("{cut}{before}{after}"),
            column: cut.chars().count() + before.chars().count(),
        }
    }
}

/// The number of characters shown on either side of a fault.
const SHOWN: usize = 60;
const CUT: &str = "...";

fn printable(text: &str) -> impl DoubleEndedIterator<Item = char> {
    // Characters are replaced one by one, so that the caret stays below its character.
    text.chars()
        .map(|char| if char.is_control() { '\u{fffd}' } else { char })
}

fn last(text: &str) -> (String, &'static str) {
    let mut shown: Vec<_> = printable(text).rev().take(SHOWN + 1).collect();
    let cut = if shown.len() > SHOWN { CUT } else { "" };
    shown.truncate(SHOWN);
    (shown.into_iter().rev().collect(), cut)
}

fn first(text: &str) -> String {
    let mut shown: String = printable(text).take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str(CUT);
    }
    shown
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "noderange")?;
        if let Some(place) = &self.place {
            write!(f, " ({place})")?;
        }
        writeln!(f, ": {}", self.fault)?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  {:1$}^", "", self.column)
    }
}

impl std::error::Error for RangeError {}
