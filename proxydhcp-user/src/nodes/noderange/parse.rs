//! Splits a noderange's text into its elements.

use super::error::Fault;
use super::pattern::Pattern;

/// The text between two commas.
#[derive(Debug)]
pub(super) struct Element<'a> {
    /// Whether its names are excluded.
    pub(super) exclude: bool,
    /// The byte at which it begins.
    pub(super) at: usize,
    pub(super) term: Term<'a>,
}

#[derive(Debug)]
pub(super) enum Term<'a> {
    Names(Pattern<'a>),
    Group(&'a str),
    File(&'a str),
    Regex(&'a str),
}

/// The elements of a noderange, at least one; or a fault, and its byte.
pub(super) fn elements(text: &str) -> Result<Vec<Element<'_>>, (usize, Fault)> {
    let mut elements = Vec::new();
    let mut start = 0;
    loop {
        let rest = text.get(start..).unwrap_or_default();
        let length = length(rest);
        let element = rest.get(..length).unwrap_or_default();
        elements.push(self::element(start, element)?);
        start += length;
        if start >= text.len() {
            return Ok(elements);
        }
        // Skips the comma.
        start += 1;
    }
}

/// The length of the first element.
fn length(text: &str) -> usize {
    let begins = text.trim_start();
    let regex = begins.starts_with('/') || begins.starts_with("-/");
    let verbatim = begins.starts_with('^') || begins.starts_with("-^");
    let (mut depth, mut escaped) = (0_usize, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if regex => escaped = true,
            ',' if depth == 0 => return at,
            _ if verbatim => {}
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '(' | '{' if regex => depth += 1,
            ')' | '}' if regex => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

fn element(start: usize, element: &str) -> Result<Element<'_>, (usize, Fault)> {
    let at = start + element.len() - element.trim_start().len();
    let element = element.trim();
    let (exclude, element, at) = match element.strip_prefix('-') {
        Some(rest) => (true, rest, at + 1),
        None => (false, element, at),
    };
    let mut chars = element.chars();
    let first = chars.next();
    let rest = chars.as_str();
    let named = |term| match rest {
        "" => Err((at, Fault::Missing)),
        _ => Ok(term),
    };
    let term = match first {
        None => return Err((at, Fault::Missing)),
        Some('@') => named(Term::Group(rest))?,
        Some('^') => named(Term::File(rest))?,
        Some('/') => named(Term::Regex(rest))?,
        Some(_) => Term::Names(Pattern::parse(at, element)?),
    };
    Ok(Element { exclude, at, term })
}
