//! The file of nodes' hardware addresses: like ethers(5), or with the name first.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::sys::file;
use crate::text::listed;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

/// A node and its hardware address. A node with several interfaces occurs several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) mac: Mac,
}

impl Mac {
    /// Parses six numbers of one or two hexadecimal digits, separated by colons or hyphens.
    fn parse(text: &str) -> Option<Self> {
        let mut bytes = text.split([':', '-']).map(|digits| {
            let are_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            (are_hex && digits.len() <= 2).then(|| u8::from_str_radix(digits, 16).ok())?
        });
        let mut mac = [0; 6];
        for byte in &mut mac {
            *byte = bytes.next()??;
        }
        bytes.next().is_none().then_some(Self(mac))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The hardware addresses of `names`, in their order, from the file at `path`.
///
/// # Errors
///
/// If the file cannot be read, has a line that is neither blank nor a comment nor a node, or lacks
/// one of the names.
pub(crate) fn find(path: &Path, names: &[String]) -> Result<Vec<Node>> {
    let bytes = file::read(path)?;
    let text = str::from_utf8(&bytes).ok();
    let text = text.with_context(|| format!("{} is not text (UTF-8)", path.display()))?;
    let all = parse(text).with_context(|| format!("cannot use {}", path.display()))?;

    let mut nodes = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        match all.get(&name.to_ascii_lowercase()) {
            None => missing.push(name.as_str()),
            Some(macs) => nodes.extend(macs.iter().map(|&mac| Node {
                name: name.clone(),
                mac,
            })),
        }
    }
    ensure!(
        missing.is_empty(),
        "{} has no hardware address of {}; add lines such as \"{} 52:54:00:12:34:56\", \
         or name another file by --mac",
        path.display(),
        listed(&missing),
        missing.first().unwrap_or(&"node1"),
    );
    Ok(nodes)
}

/// The addresses by name, in lower case. A full name is also listed by the part before its first
/// dot.
fn parse(text: &str) -> Result<HashMap<String, Vec<Mac>>> {
    let mut all: HashMap<String, Vec<Mac>> = HashMap::new();
    let mut seen = HashSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let (line, _) = line.split_once('#').unwrap_or((line, ""));
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, mac) = match words[..] {
            [] => continue,
            [one, other] => match (Mac::parse(one), Mac::parse(other)) {
                (None, Some(mac)) => (one, mac),
                (Some(mac), None) => (other, mac),
                _ => bail!("line {number} is not a name and a hardware address"),
            },
            _ => bail!("line {number} is not two words, a name and a hardware address"),
        };
        ensure!(
            !name.chars().any(char::is_control),
            "line {number}: the name has a control character"
        );
        ensure!(
            seen.insert(mac),
            "line {number}: {mac} is listed already; remove one of the two lines"
        );
        let name = name.to_ascii_lowercase();
        if let Some((short, _)) = name.split_once('.') {
            all.entry(short.to_owned()).or_default().push(mac);
        }
        all.entry(name).or_default().push(mac);
    }
    Ok(all)
}
