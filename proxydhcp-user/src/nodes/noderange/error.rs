//! What is wrong with a noderange, and where.

use std::fmt;

use super::{Groups, LIMIT};
use crate::nodes::cfg::NAME;
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
    /// Something that host names do not have.
    #[error("{0:?} cannot be in a node name")]
    Character(char),
    /// A name that begins with a hyphen or a dot.
    #[error("a node name begins with a letter or a digit")]
    Begin,
    /// No digits where some must be.
    #[error("a number is expected here, as in n[01-10,12] or n10+3")]
    NoNumber,
    /// A number that no computer counts to.
    #[error("the number is too large")]
    LargeNumber,
    /// The last number is less than the first.
    #[error("the range runs backwards: the lower number comes first")]
    Backwards,
    /// Zeros before one of two numbers.
    #[error("the numbers have different leading zeros: write both with as many digits")]
    Zeros,
    /// `n1+` without a number before the sign.
    #[error("there must be a number before the '+', as in n10+3")]
    NoNumberAtEnd,
    /// `10` for `node10`.
    #[error("a number alone is no node name: write names in full, such as node10-node20")]
    Short,
    /// Two names around a colon that have different letters.
    #[error("both sides of a range are to be alike but for one number, as in n01:n10")]
    Unlike,
    /// Names that differ in two numbers.
    #[error("the names differ in several numbers: use brackets, as in f[1-2]n[1-3]")]
    SeveralNumbers,
    /// A name that no record holds.
    #[error("the name has up to {0} characters, and a record holds {NAME}")]
    Long(usize),
    /// More than [`LIMIT`] names.
    #[error("the noderange has more than {LIMIT} names: name fewer at a time")]
    TooMany,
    /// The groups file lacks it.
    #[error("there is no group {name} in {source_name}{known}")]
    UnknownGroup {
        /// The group.
        name: String,
        /// The groups file.
        source_name: String,
        /// The groups that there are, to be read on.
        known: String,
    },
    /// A group that has itself.
    #[error("group {0} is part of itself")]
    Circle(String),
    /// `^` in a file or a group.
    #[error("a file is named by the noderange itself alone, not by a file or group within it")]
    FileWithin,
    /// The file of `^` cannot be read.
    #[error("{0}")]
    File(String),
    /// A regular expression that is none.
    #[error("the regular expression is wrong: {0}")]
    Regex(String),
}

impl Fault {
    pub(super) fn regex(error: &regex::Error) -> Self {
        // It draws the expression, over several lines, and names the fault in the last.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        Self::Regex(last.trim_start_matches("error: ").to_owned())
    }

    pub(super) fn unknown_group(name: &str, groups: &Groups) -> Self {
        const SHOWN: usize = 10;
        let names = groups.names();
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

/// A fault in a noderange. It is shown with the text, and a caret under the fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeError {
    /// What is wrong.
    pub fault: Fault,
    /// The line of the groups file, or of another, that has the text, if it is not what was given.
    pub place: Option<String>,
    text: String,
    column: usize,
}

impl RangeError {
    /// `fault` at byte `at` of `text`.
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

/// The characters that are shown to either side of a fault.
const SHOWN: usize = 60;
const CUT: &str = "...";

fn printable(text: &str) -> impl DoubleEndedIterator<Item = char> {
    // One for one: the caret must stay below its character.
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
