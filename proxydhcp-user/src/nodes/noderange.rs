//! Noderanges: lists of node names in xCAT's short form, as its noderange(3) has it.
//!
//! | form | names |
//! |---|---|
//! | `n1,n5` | each of these |
//! | `n[01-10]`, `n[01,03,05-07]` | those numbers, with their zeros |
//! | `n01-n10`, `n01:n10` | that range, with names in full; one number may differ |
//! | `f[1-2]n[1-3]` | f1n1, f1n2, f1n3, f2n1, f2n2, f2n3 |
//! | `n10+3` | n10 and the three after it |
//! | `@rack1`, `rack1` | what the groups file has for rack1 |
//! | `@rack[1-3]`, `rack1-rack3` | these groups |
//! | `all` | all known names |
//! | `@rack1@gpu`, `n[1-9]@gpu` | what is in all of these |
//! | `(n1,@rack1)@gpu` | a noderange in the place of a name |
//! | `^FILE` | what a file has, each line a noderange or a comment (#) |
//! | `/n1.*` | the known names that the regular expression fits as a whole |
//! | `-n5`, `-n[3-5]`, `-@rack1` | none of these, wherever it stands |
//!
//! A word is a known name, else a group, else a range of names. Unlike in xCAT, names need not be
//! known, and keep their order. `10-20` for `node10-node20` and xCAT's tables are not supported. A
//! hyphen between names of different forms is part of a name: `node1-ib0`.
//!
//! Nothing here reads or writes files.

use std::collections::HashSet;
use std::path::Path;

use regex::Regex;

mod error;
mod groups;
mod known;
mod parse;
mod pattern;

pub use error::{Fault, RangeError};
pub use groups::{Groups, GroupsError};
pub use known::Known;

use parse::{Element, Kind, Term};
use pattern::Pattern;

/// The group of all known names, unless the groups file has another.
const ALL: &str = "all";

/// The maximum number of names that a noderange may have or exclude, repeated names included.
// Fuzzers find short ways to write many names.
pub const LIMIT: usize = if cfg!(fuzzing) { 1_000 } else { 1_000_000 };

/// The maximum depth of groups within groups: each level takes some of the stack.
const DEEPEST_GROUP: usize = 100;

/// What noderanges refer to.
pub struct Context<'a> {
    /// The names that exist.
    pub known: &'a Known,
    /// The groups, where there may be some.
    pub groups: Option<&'a Groups>,
    /// Reads the file of `^FILE`, or returns why that fails.
    pub read: &'a dyn Fn(&Path) -> Result<String, String>,
}

/// Expands a noderange to its names, in its order, each once. Names that differ in case are
/// different.
///
/// # Errors
/// If the noderange is wrong: see [`Fault`].
pub fn expand(range: &str, context: &Context<'_>) -> Result<Vec<String>, Box<RangeError>> {
    let mut expansion = Expansion {
        context,
        left: LIMIT,
        groups: Vec::new(),
        is_nested: false,
    };
    expansion.range(range).map_err(|located| match located {
        Located::Here(at, fault) => Box::new(RangeError::new(None, range, at, fault)),
        Located::Within(error) => error,
    })
}

/// A fault at a byte of the current text, or in another text that it refers to.
enum Located {
    Here(usize, Fault),
    Within(Box<RangeError>),
}

impl From<(usize, Fault)> for Located {
    fn from((at, fault): (usize, Fault)) -> Self {
        Self::Here(at, fault)
    }
}

struct Expansion<'a> {
    context: &'a Context<'a>,
    /// How many more names are allowed.
    left: usize,
    /// The groups that are being expanded, from the outermost to the innermost.
    groups: Vec<String>,
    is_nested: bool,
}

impl Expansion<'_> {
    fn range(&mut self, text: &str) -> Result<Vec<String>, Located> {
        self.list(std::iter::once((None, text)))
    }

    /// Expands several lines. What one line excludes, no other line can bring back.
    fn list<'t>(
        &mut self,
        lines: impl Iterator<Item = (Option<String>, &'t str)>,
    ) -> Result<Vec<String>, Located> {
        let (mut names, mut excluded) = (Vec::new(), HashSet::new());
        for (place, text) in lines {
            self.line(text, &mut names, &mut excluded)
                .map_err(|located| match (located, &place) {
                    (Located::Here(at, fault), Some(place)) => {
                        let error = RangeError::new(Some(place.clone()), text, at, fault);
                        Located::Within(Box::new(error))
                    }
                    (located, _) => located,
                })?;
        }
        Ok(each_once(names, &excluded))
    }

    fn line(
        &mut self,
        text: &str,
        names: &mut Vec<String>,
        excluded: &mut HashSet<String>,
    ) -> Result<(), Located> {
        self.elements(&parse::elements(text)?, names, excluded)
    }

    fn elements(
        &mut self,
        elements: &[Element<'_>],
        names: &mut Vec<String>,
        excluded: &mut HashSet<String>,
    ) -> Result<(), Located> {
        for Element { exclude, terms } in elements {
            let mut found: Option<Vec<String>> = None;
            for term in terms {
                let more = self.term(term)?;
                found = Some(match found {
                    None => more,
                    Some(found) => in_both(found, more),
                });
            }
            let found = found.unwrap_or_default();
            if *exclude {
                excluded.extend(found);
            } else {
                names.extend(found);
            }
        }
        Ok(())
    }

    fn term(&mut self, Term { at, kind }: &Term<'_>) -> Result<Vec<String>, Located> {
        let at = *at;
        match kind {
            Kind::Names(text) => self.names(at, text),
            Kind::Regex(text) => {
                let whole = Regex::new(&format!("^(?:{text})$"))
                    .map_err(|error| (at, Fault::regex(&error)))?;
                self.matching(at, |name| whole.is_match(name))
            }
            Kind::Group(text) => self.group_range(at, text),
            Kind::File(path) => self.file(at, path),
            Kind::List(elements) => {
                let (mut names, mut excluded) = (Vec::new(), HashSet::new());
                self.elements(elements, &mut names, &mut excluded)?;
                Ok(each_once(names, &excluded))
            }
        }
    }

    fn matching(&mut self, at: usize, fits: impl Fn(&str) -> bool) -> Result<Vec<String>, Located> {
        let known = self.context.known.iter();
        let names: Vec<_> = known.filter(|name| fits(name)).cloned().collect();
        self.spend(at, names.len())?;
        Ok(names)
    }

    /// What a word stands for: a known name, a group, or names and groups that differ in numbers.
    fn names(&mut self, at: usize, text: &str) -> Result<Vec<String>, Located> {
        if self.context.known.contains(text) {
            self.spend(at, 1)?;
            return Ok(vec![text.to_owned()]);
        }
        if self.is_group(text) {
            return self.group(at, text);
        }
        if text.eq_ignore_ascii_case(ALL) {
            return self.matching(at, |_| true);
        }
        if ["==", "!=", "=~", "!~"]
            .iter()
            .any(|sign| text.contains(sign))
        {
            return Err((at, Fault::Attribute).into());
        }
        let pattern = Pattern::parse(at, text)?;
        self.spend(at, pattern.count())?;
        let names = pattern.names();
        if !names.iter().any(|name| self.is_group(name)) {
            return Ok(names);
        }
        let mut all = Vec::new();
        for name in names {
            if self.is_group(&name) && !self.context.known.contains(&name) {
                all.extend(self.group(at, &name)?);
            } else {
                all.push(name);
            }
        }
        Ok(all)
    }

    fn is_group(&self, name: &str) -> bool {
        let groups = self.context.groups;
        groups.is_some_and(|groups| groups.lines(name).is_some())
    }

    /// The nodes of a group, or of groups that differ in numbers.
    fn group_range(&mut self, at: usize, text: &str) -> Result<Vec<String>, Located> {
        if text.eq_ignore_ascii_case(ALL) && !self.is_group(text) {
            return self.matching(at, |_| true);
        }
        let is_range = !self.is_group(text) && text.contains(['[', '-', ':', '+']);
        if !is_range {
            return self.group(at, text);
        }
        let pattern = Pattern::parse(at + 1, text)?;
        self.spend(at, pattern.count())?;
        let mut names = Vec::new();
        for group in pattern.names() {
            names.extend(self.group(at, &group)?);
        }
        Ok(names)
    }

    fn group(&mut self, at: usize, name: &str) -> Result<Vec<String>, Located> {
        // Groups of groups must come to an end, even if they contain no names at all.
        self.spend(at, 1)?;
        let groups = self.context.groups.ok_or((at, Fault::NoGroups))?;
        let Some(lines) = groups.lines(name) else {
            return Err((at, Fault::unknown_group(name, groups)).into());
        };
        if self.groups.iter().any(|outer| outer == name) {
            return Err((at, Fault::Circle(name.to_owned())).into());
        }
        if self.groups.len() >= DEEPEST_GROUP {
            return Err((at, Fault::GroupDepth).into());
        }
        self.groups.push(name.to_owned());
        let before = std::mem::replace(&mut self.is_nested, true);
        let source = groups.source();
        let lines = lines.iter().map(|(number, text)| {
            let place = format!("group {name}, line {number} of {source}");
            (Some(place), text.as_str())
        });
        let names = self.list(lines);
        self.is_nested = before;
        self.groups.pop();
        names
    }

    fn file(&mut self, at: usize, path: &str) -> Result<Vec<String>, Located> {
        if self.is_nested {
            return Err((at, Fault::FileWithin).into());
        }
        let text =
            (self.context.read)(Path::new(path)).map_err(|reason| (at, Fault::File(reason)))?;
        self.is_nested = true;
        let lines = (1..).zip(text.lines()).filter_map(|(number, line)| {
            let line = groups::without_comment(line);
            (!line.is_empty()).then(|| (Some(format!("line {number} of {path}")), line))
        });
        let names = self.list(lines);
        self.is_nested = false;
        names
    }

    fn spend(&mut self, at: usize, names: usize) -> Result<(), Located> {
        self.left = self.left.checked_sub(names).ok_or((at, Fault::TooMany))?;
        Ok(())
    }
}

/// The names of the first list that are in the second.
fn in_both(mut names: Vec<String>, others: Vec<String>) -> Vec<String> {
    let others: HashSet<_> = others.into_iter().collect();
    names.retain(|name| others.contains(name));
    names
}

fn each_once(mut names: Vec<String>, excluded: &HashSet<String>) -> Vec<String> {
    let mut seen = HashSet::with_capacity(names.len());
    let keep: Vec<_> = names
        .iter()
        .map(|name| !excluded.contains(name) && seen.insert(name.as_str()))
        .collect();
    let mut keep = keep.into_iter();
    names.retain(|_| keep.next().unwrap_or_default());
    names
}

#[cfg(test)]
mod tests;
