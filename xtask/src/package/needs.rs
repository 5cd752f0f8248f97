//! What a program needs of the system that it is installed on.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::output;

/// What the dynamic linker looks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The oldest glibc that has all that is used.
    pub(crate) glibc: (u32, u32),
    pub(crate) libraries: Vec<String>,
}

impl Needs {
    /// Those of a program.
    pub(crate) fn of(program: &Path) -> Result<Self> {
        let mut readelf = Command::new("readelf");
        let shown = output(readelf.args(["-dVW"]).arg(program).env("LC_ALL", "C"))?;
        Self::parse(&shown).with_context(|| format!("{} needs no glibc", program.display()))
    }

    fn parse(shown: &str) -> Option<Self> {
        let versions = shown.split("Name: GLIBC_").skip(1).filter_map(|rest| {
            let (major, minor) = rest.split_whitespace().next()?.split_once('.')?;
            let minor = minor.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        let libraries = shown.lines().filter_map(|line| {
            let (_, library) = line.split_once("Shared library: [")?;
            Some(library.trim_end_matches(']').to_owned())
        });
        Some(Self {
            glibc: versions.max()?,
            libraries: libraries.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_counts_by_its_numbers() {
        let shown = " 0x01 (NEEDED)  Shared library: [libc.so.6]\n\
                     \x20 0x0050:   Name: GLIBC_2.2.5  Flags: none  Version: 21\n\
                     \x20 0x0140:   Name: GLIBC_2.28  Flags: none  Version: 17\n\
                     \x20 0x0150:   Name: GLIBC_2.9  Flags: none  Version: 11\n";
        let needs = Needs::parse(shown).unwrap();
        assert_eq!(needs.glibc, (2, 28));
        assert_eq!(needs.libraries, ["libc.so.6"]);
    }
}
