//! The file `copyright`: this project's licence and those of all crates in the program.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;

use super::crates::Crate;

/// A line between the parts.
const LINE: &str = "------------------------------------------------------------------------------";

/// Writes it. A text that several crates have alike is there once.
pub(super) fn text(crates: &[Crate], licence: &str) -> Result<String> {
    let mut text = String::from(
        "proxydhcp is free software under the GNU General Public License, version 2 or, at your \
         option,\nany later version (GPL-2.0-or-later). On Debian systems, its text is in\n\
         /usr/share/common-licenses/GPL-2; it is also at the end of this file.\n\n\
         Copyright: the authors of proxydhcp\n\n\
         The program contains the crates below, under the licences behind their names (SPDX). Their texts\n\
         follow.\n\n",
    );
    let mut by_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in crates {
        let (name, version) = (&package.name, &package.version);
        let license = package.license.as_deref().unwrap_or("see its text");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name} {version}: {license}");
        for (file, content) in package.texts()? {
            let content = content.replace("\r\n", "\n").trim().to_owned();
            let users = by_text.entry(content).or_default();
            users.push(format!("{name} {version} ({file})"));
        }
    }
    let mut parts: Vec<_> = by_text.into_iter().collect();
    parts.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    for (content, users) in parts {
        let _ = write!(
            text,
            "\n{LINE}\n{}\n{LINE}\n\n{content}\n",
            users.join("\n")
        );
    }
    let _ = write!(text, "\n{LINE}\nproxydhcp itself\n{LINE}\n\n{licence}");
    Ok(text)
}
