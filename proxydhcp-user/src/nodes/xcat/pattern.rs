//! Values of xCAT's tables that are made from the node's name (xcatdb(5), "regular expressions").
//!
//! `/PATTERN/REPLACEMENT/` is the node's name with the part that matches replaced.
//! `|PATTERN|REPLACEMENT|` is so too, and its parentheses hold integer arithmetic, such as
//! `10.0.($1/250).($1%250+1)`. In `|REPLACEMENT|`, the groups are the numbers in the name. Anything
//! else is a plain value.

use regex::{Captures, Regex};

/// The longest arithmetic, in bytes: as long as a column of xCAT's tables.
const LONGEST: usize = 512;

/// The value for this node.
///
/// # Errors
/// If the pattern cannot be understood, or its arithmetic cannot be done.
pub(super) fn value(attribute: &str, node: &str) -> Result<String, String> {
    let inner = |mark: char| attribute.strip_prefix(mark)?.strip_suffix(mark);
    let value = if let Some([pattern, replacement]) = inner('/').and_then(two_parts) {
        substitute(&compile(pattern)?, replacement, node)
    } else if let Some(inner) = inner('|') {
        match inner.split_once('|') {
            Some((pattern, replacement)) => computed(&compile(pattern)?, replacement, node),
            None => computed(&compile(&numbers_in(node)?)?, inner, node),
        }
        .map_err(|fault| format!("{attribute} for {node}: {fault}"))?
    } else {
        attribute.to_owned()
    };
    Ok(value)
}

fn two_parts(inner: &str) -> Option<[&str; 2]> {
    let (pattern, replacement) = inner.split_once('/')?;
    (!replacement.contains('/')).then_some([pattern, replacement])
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let fault = |_| format!("{pattern} is no regular expression that proxydhcp understands");
    Regex::new(pattern).map_err(fault)
}

/// The pattern whose groups are the numbers in the name, without leading zeros.
fn numbers_in(node: &str) -> Result<String, String> {
    let numbers = compile(r"[\D0]*(\d+)")?.find_iter(node).count();
    Ok(format!("{}.*$", r"[\D0]*(\d+)".repeat(numbers)))
}

/// The node's name with the first match replaced.
fn substitute(pattern: &Regex, replacement: &str, node: &str) -> String {
    let Some(groups) = pattern.captures(node) else {
        return node.to_owned();
    };
    let (before, after) = groups
        .get(0)
        .map(|all| (node.get(..all.start()), node.get(all.end()..)))
        .unwrap_or_default();
    let replaced = expand(replacement, &groups);
    [
        before.unwrap_or_default(),
        &replaced,
        after.unwrap_or_default(),
    ]
    .concat()
}

/// The text with `$1` and `${1}` replaced by what the groups have matched.
fn expand(text: &str, groups: &Captures<'_>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let braced = after
            .strip_prefix('{')
            .and_then(|after| after.split_once('}'));
        let (number, after) = braced.unwrap_or_else(|| {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            after.split_at(digits)
        });
        match number.parse::<usize>() {
            Ok(number) => expanded.push_str(groups.get(number).map_or("", |group| group.as_str())),
            Err(_) => expanded.push('$'),
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

/// The substitution, with what stands in parentheses computed first.
fn computed(pattern: &Regex, replacement: &str, node: &str) -> Result<String, String> {
    let mut text = replacement.to_owned();
    while let Some(start) = text.find('(') {
        let (before, rest) = text.split_at(start);
        let length = balanced(rest).ok_or("a parenthesis is not closed")?;
        let (term, after) = rest.split_at(length);
        let term = substitute(pattern, term, node);
        if term.len() > LONGEST {
            return Err("a parenthesis is too long".to_owned());
        }
        let value = Terms(term.as_bytes()).whole()?;
        text = format!("{before}{value}{after}");
    }
    Ok(substitute(pattern, &text, node))
}

/// The length of the parenthesis that the text begins with.
fn balanced(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, char) in text.char_indices() {
        match char {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at + 1),
            ')' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// Integer arithmetic, with Perl's operators and its octal numbers.
struct Terms<'a>(&'a [u8]);

impl Terms<'_> {
    fn whole(mut self) -> Result<i64, String> {
        let text = String::from_utf8_lossy(self.0).into_owned();
        let value = self.sum();
        value
            .filter(|_| self.next().is_none())
            .ok_or_else(|| format!("{text} cannot be computed"))
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied()
    }

    fn skip(&mut self) {
        self.0 = self.0.get(1..).unwrap_or_default();
    }

    fn sum(&mut self) -> Option<i64> {
        let mut value = self.product()?;
        while let Some(sign @ (b'+' | b'-')) = self.next() {
            self.skip();
            let term = self.product()?;
            value = match sign {
                b'+' => value.checked_add(term)?,
                _ => value.checked_sub(term)?,
            };
        }
        Some(value)
    }

    fn product(&mut self) -> Option<i64> {
        let mut value = self.factor()?;
        while let Some(sign @ (b'*' | b'/' | b'%')) = self.next() {
            self.skip();
            let factor = self.factor()?;
            value = match sign {
                b'*' => value.checked_mul(factor)?,
                b'/' => value.checked_div(factor)?,
                _ => value.checked_rem(factor)?,
            };
        }
        Some(value)
    }

    /// A number, a negated factor, or a parenthesis. [`LONGEST`] bounds the recursion.
    fn factor(&mut self) -> Option<i64> {
        match self.next()? {
            b'-' => {
                self.skip();
                self.factor()?.checked_neg()
            }
            b'(' => {
                self.skip();
                let value = self.sum()?;
                let closes = self.next() == Some(b')');
                self.skip();
                closes.then_some(value)
            }
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<i64> {
        let length = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        let digits = str::from_utf8(digits).ok()?;
        let radix = if digits.len() > 1 && digits.starts_with('0') {
            8
        } else {
            10
        };
        i64::from_str_radix(digits, radix).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_made_from_the_nodes_name() {
        for (attribute, node, expected) in [
            ("10.0.0.1", "n1", "10.0.0.1"),
            ("/tftpboot/winboot", "n1", "/tftpboot/winboot"),
            ("/n(\\d+)/10.0.0.$1/", "n7", "10.0.0.7"),
            ("/\\z/-ib0/", "n7", "n7-ib0"),
            ("|\\D+(\\d+)|10.0.0.($1+0)|", "node0012", "10.0.0.10"),
            (
                "|\\D+0*(\\d+)|10.0.($1/250).($1%250+1)|",
                "node0712",
                "10.0.2.213",
            ),
            ("|10.1.$1.($2+100)|", "rack03node07", "10.1.3.107"),
            ("|node.*|sn1,sn2|", "node1", "sn1,sn2"),
            ("|(\\d+)|${1}x|", "5", "5x"),
            ("|n(\\d+)|10.0.0.((${1}-1)*-2+200)|", "n3", "10.0.0.196"),
            ("|", "n1", "|"),
        ] {
            assert_eq!(
                value(attribute, node).as_deref(),
                Ok(expected),
                "{attribute}"
            );
        }
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        for attribute in [
            "|n(\\d+)|10.0.0.($1/0)|",
            "|n(\\d+)|10.0.0.($1+)|",
            "|n(\\d+)|10.0.0.($1|",
            "|n(?=1)(\\d+)|10.0.0.$1|",
            "|n(\\d+)|(9223372036854775807+$1)|",
            "|n(\\d+)|(08+$1)|",
        ] {
            value(attribute, "n1").unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn no_value_makes_it_fail(attribute in "[|/]?[n$1(){}+*/%0 -]{0,12}[|/]?[$1()+-]{0,8}[|/]?", node in "[a-z0-9]{0,9}") {
            let _ = value(&attribute, &node);
        }
    }
}
