//! Splits a noderange's text into its elements.

use super::error::Fault;

/// How many parentheses may stand within each other.
const DEPTH: usize = 20;

/// The text between two commas.
#[derive(Debug)]
pub(super) struct Element<'a> {
    /// Whether its names are excluded.
    pub(super) exclude: bool,
    /// What its names are in, all of it: at least one term.
    pub(super) terms: Vec<Term<'a>>,
}

#[derive(Debug)]
pub(super) struct Term<'a> {
    /// The byte at which it begins.
    pub(super) at: usize,
    pub(super) kind: Kind<'a>,
}

#[derive(Debug)]
pub(super) enum Kind<'a> {
    /// Names, or a group without its sign.
    Names(&'a str),
    Group(&'a str),
    File(&'a str),
    Regex(&'a str),
    List(Vec<Element<'a>>),
}

type Located = (usize, Fault);

/// The elements of a noderange, at least one; or a fault, and its byte.
pub(super) fn elements(text: &str) -> Result<Vec<Element<'_>>, Located> {
    Parser {
        text,
        at: 0,
        depth: 0,
    }
    .list()
}

struct Parser<'a> {
    text: &'a str,
    /// The byte of the next character.
    at: usize,
    /// The number of open parentheses.
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Parses elements up to the end, or to the parenthesis that closes the list.
    fn list(&mut self) -> Result<Vec<Element<'a>>, Located> {
        let mut elements = Vec::new();
        loop {
            elements.push(self.element()?);
            if !self.skip(',') {
                return Ok(elements);
            }
        }
    }

    fn element(&mut self) -> Result<Element<'a>, Located> {
        let exclude = self.skip('-');
        let mut terms = Vec::new();
        // A group of its own may begin the element.
        let begins = self.peek() == Some('@');
        if !begins {
            terms.push(self.term()?);
        }
        loop {
            let at = self.at;
            if !self.skip('@') {
                break;
            }
            terms.push(if terms.is_empty() {
                let group = self.word();
                Term {
                    at,
                    kind: Kind::Group(missing(at, group)?),
                }
            } else if matches!(self.peek(), None | Some(',' | '@')) {
                return Err((at, Fault::Missing));
            } else {
                self.term()?
            });
        }
        match self.peek() {
            None | Some(',') => {}
            Some(')') if self.depth > 0 => {}
            Some(_) => return Err((self.at, Fault::Comma)),
        }
        Ok(Element { exclude, terms })
    }

    fn term(&mut self) -> Result<Term<'a>, Located> {
        self.peek();
        let at = self.at;
        let kind = if self.skip('(') {
            self.depth += 1;
            if self.depth > DEPTH {
                return Err((at, Fault::Depth));
            }
            let list = self.list()?;
            self.depth -= 1;
            if !self.skip(')') {
                return Err((at, Fault::UnclosedParenthesis));
            }
            Kind::List(list)
        } else if self.skip('^') {
            Kind::File(missing(at, self.verbatim())?)
        } else if self.skip('/') {
            Kind::Regex(missing(at, self.regex())?)
        } else {
            Kind::Names(missing(at, self.word())?)
        };
        Ok(Term { at, kind })
    }

    /// The next character that is no space, which is not consumed; spaces are.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    /// Consumes this character if it is next.
    fn skip(&mut self, char: char) -> bool {
        let is_next = self.peek() == Some(char);
        if is_next {
            self.at += char.len_utf8();
        }
        is_next
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn word(&mut self) -> &'a str {
        let mut depth = 0_usize;
        let closes = self.depth > 0;
        self.until(|char| {
            match char {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && (matches!(char, ',' | '@') || closes && char == ')')
        })
    }

    /// A file name may have any character but a comma.
    fn verbatim(&mut self) -> &'a str {
        let closes = self.depth > 0;
        self.until(|char| char == ',' || closes && char == ')')
    }

    fn regex(&mut self) -> &'a str {
        let (mut depth, mut escaped) = (0_usize, false);
        let closes = self.depth > 0;
        self.until(|char| {
            match char {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                ')' if depth == 0 => return closes,
                ',' | '@' => return depth == 0,
                '[' | '(' | '{' => depth += 1,
                ']' | ')' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            false
        })
    }

    /// The text before the first such character, without the spaces around it.
    fn until(&mut self, ends: impl FnMut(char) -> bool) -> &'a str {
        let rest = self.rest();
        let text = match rest.find(ends) {
            Some(end) => rest.get(..end).unwrap_or(rest),
            None => rest,
        };
        self.at += text.len();
        text.trim()
    }
}

fn missing(at: usize, text: &str) -> Result<&str, Located> {
    match text {
        "" => Err((at, Fault::Missing)),
        text => Ok(text),
    }
}
