//! Names that differ in numbers, `n[01-10]`, `n01-n10` or `n10+3`, or a single name.

use std::fmt::Write;

use super::LIMIT;
use super::error::Fault;
use crate::nodes::NAME;

/// Texts and numbers in alternation. The last number varies fastest.
#[derive(Debug)]
pub(super) struct Pattern<'a> {
    parts: Vec<Part<'a>>,
    count: usize,
}

#[derive(Debug)]
enum Part<'a> {
    Text(&'a str),
    Numbers(Vec<Span>),
}

/// Consecutive numbers.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
    /// The minimum number of digits, from leading zeros.
    width: usize,
}

type Located = (usize, Fault);

impl<'a> Pattern<'a> {
    /// Parses the text at byte `at` of a noderange.
    pub(super) fn parse(at: usize, text: &'a str) -> Result<Self, Located> {
        if text.contains(['[', ']']) {
            return Self::new(at, brackets(at, text)?);
        }
        if let Some((name, count)) = text.split_once('+') {
            return Self::new(at, following(at, name, count)?);
        }
        if let Some((left, right)) = text.split_once(':') {
            let parts = between(at, left, right)?.ok_or((at, Fault::Unlike))?;
            return Self::new(at, parts);
        }
        if let Some((left, right)) = at_middle_hyphen(text)
            && let Some(parts) = between(at, left, right)?
        {
            return Self::new(at, parts);
        }
        if is_number(text) {
            return Err((at, Fault::Short));
        }
        Self::new(at, vec![self::text(at, text)?])
    }

    fn new(at: usize, parts: Vec<Part<'a>>) -> Result<Self, Located> {
        let (mut count, mut length) = (1, 0);
        for part in &parts {
            let (more, longer) = match part {
                Part::Text(text) => (1, text.len()),
                Part::Numbers(spans) => (sum(spans), longest(spans)),
            };
            count = usize::checked_mul(count, more).unwrap_or(usize::MAX);
            length = usize::saturating_add(length, longer);
        }
        if length == 0 {
            return Err((at, Fault::Missing));
        }
        if length > NAME {
            return Err((at, Fault::Long(length)));
        }
        // A larger number would overflow the calculations that follow.
        if count > LIMIT {
            return Err((at, Fault::TooMany));
        }
        if let Some(Part::Text(text)) = parts.first()
            && text.starts_with(['-', '.'])
        {
            return Err((at, Fault::Begin));
        }
        Ok(Self { parts, count })
    }

    /// The number of names.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The names.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::with_capacity(self.count);
        append(&self.parts, &mut String::with_capacity(NAME), &mut names);
        names
    }
}

fn append(parts: &[Part<'_>], name: &mut String, names: &mut Vec<String>) {
    let Some((part, rest)) = parts.split_first() else {
        names.push(name.clone());
        return;
    };
    let length = name.len();
    match part {
        Part::Text(text) => {
            name.push_str(text);
            append(rest, name, names);
            name.truncate(length);
        }
        Part::Numbers(spans) => {
            for &Span { first, last, width } in spans {
                for number in first..=last {
                    // Writing to a string cannot fail.
                    let _ = write!(name, "{number:0width$}");
                    append(rest, name, names);
                    name.truncate(length);
                }
            }
        }
    }
}

fn sum(spans: &[Span]) -> usize {
    let count = |span: &Span| usize::try_from(span.last - span.first).unwrap_or(usize::MAX);
    spans.iter().fold(0, |sum, span| {
        usize::saturating_add(sum, count(span)).saturating_add(1)
    })
}

fn longest(spans: &[Span]) -> usize {
    let digits = |number: u64| number.checked_ilog10().map_or(1, |log| log as usize + 1);
    let lengths = spans.iter().map(|span| span.width.max(digits(span.last)));
    lengths.max().unwrap_or_default()
}

/// Parses `f[1-2]n[1-3]`.
fn brackets(at: usize, text: &str) -> Result<Vec<Part<'_>>, Located> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let here = at + text.len() - rest.len();
        let Some((before, after)) = rest.split_once('[') else {
            parts.push(self::text(here, rest)?);
            break;
        };
        if !before.is_empty() {
            parts.push(self::text(here, before)?);
        }
        let opened = here + before.len();
        let (within, after) = after.split_once(']').ok_or((opened, Fault::Unclosed))?;
        parts.push(Part::Numbers(numbers(opened + 1, within)?));
        rest = after;
    }
    Ok(parts)
}

/// Parses `01,03,05-07`.
fn numbers(at: usize, text: &str) -> Result<Vec<Span>, Located> {
    let mut here = at;
    let mut spans = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once(['-', ':']).unwrap_or((item, item));
        if !is_number(first) {
            return Err((here, Fault::NoNumber));
        }
        if !is_number(last) {
            return Err((here + first.len() + 1, Fault::NoNumber));
        }
        spans.push(span(here, first, last)?);
        here += item.len() + 1;
    }
    Ok(spans)
}

/// Parses `n10+3`, where a domain may follow the number.
fn following<'a>(at: usize, name: &'a str, count: &str) -> Result<Vec<Part<'a>>, Located> {
    let runs = runs(name);
    let ends = |(index, _): &(usize, &Run<'_>)| {
        let after = runs.get(index + 1);
        after.is_none_or(|after| after.text.starts_with('.'))
    };
    let number = runs
        .iter()
        .enumerate()
        .filter(|(_, run)| run.is_number)
        .find(ends);
    let (
        _,
        Run {
            at: start,
            text: first,
            ..
        },
    ) = number.ok_or((at, Fault::NoNumberAtEnd))?;
    let end = start + first.len();
    let prefix = name.get(..*start).unwrap_or_default();
    let suffix = name.get(end..).unwrap_or_default();
    if prefix.is_empty() && suffix.is_empty() {
        return Err((at, Fault::Short));
    }
    if !is_number(count) {
        return Err((at + name.len() + 1, Fault::NoNumber));
    }
    let number = |at: usize, text: &str| text.parse().map_err(|_| (at, Fault::LargeNumber));
    let start: u64 = number(at + start, first)?;
    let count: u64 = number(at + name.len() + 1, count)?;
    let span = Span {
        first: start,
        last: start.checked_add(count).ok_or((at, Fault::LargeNumber))?,
        width: zeros_of(first),
    };
    around(at, prefix, span, suffix)
}

/// Parses `n01-n10`; `None` if the two sides have different forms.
fn between<'a>(at: usize, left: &'a str, right: &str) -> Result<Option<Vec<Part<'a>>>, Located> {
    let (lefts, rights) = (runs(left), runs(right));
    let is_alike = |(left, right): (&Run<'_>, &Run<'_>)| {
        left.is_number == right.is_number && (left.is_number || left.text == right.text)
    };
    if lefts.len() != rights.len() || !lefts.iter().zip(&rights).all(is_alike) {
        return Ok(None);
    }
    let mut differing = lefts
        .iter()
        .zip(&rights)
        .filter(|(left, right)| left.text != right.text);
    let (first, second) = (differing.next(), differing.next());
    if second.is_some() {
        return Err((at, Fault::SeveralNumbers));
    }
    if is_number(left) {
        return Err((at, Fault::Short));
    }
    let Some((first, last)) = first else {
        return Ok(Some(vec![text(at, left)?]));
    };
    let span = span(at + first.at, first.text, last.text)?;
    let prefix = left.get(..first.at).unwrap_or_default();
    let suffix = left.get(first.at + first.text.len()..).unwrap_or_default();
    around(at, prefix, span, suffix).map(Some)
}

fn around<'a>(
    at: usize,
    prefix: &'a str,
    span: Span,
    suffix: &'a str,
) -> Result<Vec<Part<'a>>, Located> {
    let mut parts = Vec::new();
    if !prefix.is_empty() {
        parts.push(text(at, prefix)?);
    }
    parts.push(Part::Numbers(vec![span]));
    if !suffix.is_empty() {
        parts.push(text(at + prefix.len(), suffix)?);
    }
    Ok(parts)
}

fn text(at: usize, text: &str) -> Result<Part<'_>, Located> {
    let is_of_name = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.');
    match text.char_indices().find(|(_, char)| !is_of_name(*char)) {
        Some((place, ']')) => Err((at + place, Fault::Unopened)),
        Some((place, char)) => Err((at + place, Fault::Character(char))),
        None => Ok(Part::Text(text)),
    }
}

fn span(at: usize, first: &str, last: &str) -> Result<Span, Located> {
    let number = |text: &str| text.parse().map_err(|_| (at, Fault::LargeNumber));
    let (from, to): (u64, u64) = (number(first)?, number(last)?);
    let (zeros, zeros_of_last) = (zeros_of(first), zeros_of(last));
    if zeros > last.len() || (zeros_of_last > 0 && last.len() != first.len()) {
        return Err((at, Fault::Zeros));
    }
    if from > to {
        return Err((at, Fault::Backwards));
    }
    Ok(Span {
        first: from,
        last: to,
        width: zeros,
    })
}

/// The number of digits of a number with leading zeros; 0 for others.
fn zeros_of(number: &str) -> usize {
    if number.starts_with('0') && number.len() > 1 {
        number.len()
    } else {
        0
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Splits at the middle hyphen if the number of hyphens is odd: names may contain hyphens, the same
/// number on both sides.
fn at_middle_hyphen(text: &str) -> Option<(&str, &str)> {
    let hyphens: Vec<_> = text.match_indices('-').map(|(at, _)| at).collect();
    if hyphens.len().is_multiple_of(2) {
        return None;
    }
    let middle = *hyphens.get(hyphens.len() / 2)?;
    Some((text.get(..middle)?, text.get(middle + 1..)?))
}

/// A run of digits or of other characters.
struct Run<'a> {
    at: usize,
    text: &'a str,
    is_number: bool,
}

fn runs(text: &str) -> Vec<Run<'_>> {
    let is_digit = |char: char| char.is_ascii_digit();
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let is_number = rest.starts_with(is_digit);
        let end = rest.find(|char| is_digit(char) != is_number);
        let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        runs.push(Run {
            at,
            text,
            is_number,
        });
        at += text.len();
    }
    runs
}
