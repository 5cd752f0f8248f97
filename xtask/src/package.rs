//! `cargo xtask package`: what sites install.
//!
//! One manifest, `packaging/manifest.toml`, says which files there are. The formats are written by
//! their own tools: dpkg-deb, rpmbuild and tar.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

mod crates;
mod deb;
mod licences;
mod made;
mod manifest;
mod needs;
mod program;
mod release;
mod rpm;
mod sbom;
mod sums;
mod tar;
mod tree;

use manifest::Manifest;
use release::Release;

use crate::workspace::root;

pub(crate) use needs::Needs;
pub(crate) use program::Libc;

/// Makes packages, and their checksums, in target/package/.
///
/// The program is linked against glibc 2.28, by Zig, which comes from `PyPI`, so that it runs on RHEL
/// 8, Debian 10, SLES 15 and all later ones. Times are those of the commit, or `SOURCE_DATE_EPOCH`, and
/// the program names no paths of this machine.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask package                deb, rpm and tar
  cargo xtask package deb
  cargo xtask package deb --host     for this machine's glibc and later ones: without Zig")]
pub(crate) struct Arguments {
    /// The formats; all if none is named.
    #[arg(value_name = "FORMAT")]
    formats: Vec<Format>,

    /// Link against this machine's glibc.
    #[arg(long)]
    host: bool,
}

/// What a package is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Debian's, Ubuntu's: by dpkg-deb
    Deb,
    /// Red Hat's, SUSE's: by rpmbuild
    Rpm,
    /// All files of the package proxydhcp, below /
    Tar,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let libc = if arguments.host {
        Libc::Host
    } else {
        Libc::Old
    };
    let formats = match &*arguments.formats {
        [] => Format::value_variants(),
        chosen => chosen,
    };
    let out = root().join("target/package");
    for file in make(formats, libc, &out)? {
        println!("{}", file.display());
    }
    Ok(())
}

/// Makes packages of these formats in `out`, and returns their paths, the checksums last.
pub(crate) fn make(formats: &[Format], libc: Libc, out: &Path) -> Result<Vec<PathBuf>> {
    let release = Release::of_sources()?;
    let program = program::build_stripped(libc, &release)?;
    let manifest = Manifest::read()?;
    fs::create_dir_all(out)?;
    let made = made::make(&program, &release, &manifest, out)?;
    let mut files = Vec::new();
    for format in formats {
        files.extend(match format {
            Format::Deb => deb::make(&manifest, &made, &release, out)?,
            Format::Rpm => rpm::make(&manifest, &made, &release, out)?,
            Format::Tar => tar::make(&manifest, &made, &release, out)?,
        });
    }
    files.push(sums::write(&files, out)?);
    Ok(files)
}
