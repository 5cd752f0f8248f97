//! The files of packages that are made and not kept in the sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::manifest::Manifest;
use super::release::{REVISION, Release};
use super::{crates, deb, licences, sbom, tree};
use crate::command::{output, run};
use crate::workspace::root;

/// Makes them below `out`, and returns their folder. `program` is there, too.
pub(super) fn make(
    program: &Path,
    release: &Release,
    manifest: &Manifest,
    out: &Path,
) -> Result<PathBuf> {
    let made = out.join("made");
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    tree::make_folder(&made.join("completions"))?;
    fs::copy(program, made.join("proxydhcp"))?;
    // It reads no settings for these.
    run(Command::new(program)
        .args(["man", "--dir"])
        .arg(made.join("man")))?;
    for section in ["man5", "man8"] {
        for page in fs::read_dir(made.join("man").join(section))? {
            gzip(&page?.path())?;
        }
    }
    for (shell, file) in [
        ("bash", "proxydhcp.bash"),
        ("zsh", "_proxydhcp"),
        ("fish", "proxydhcp.fish"),
    ] {
        let script = output(Command::new(program).args(["completions", shell]))?;
        // The script names the program as it was called.
        let script = script.replace(&program.display().to_string(), "proxydhcp");
        fs::write(made.join("completions").join(file), script + "\n")?;
    }
    let crates = crates::of_program()?;
    let licence = fs::read_to_string(root().join("LICENSE"))?;
    fs::write(made.join("copyright"), licences::text(&crates, &licence)?)?;
    fs::write(made.join("sbom.cdx.json"), sbom::text(&crates, release)?)?;
    fs::copy(root().join("CHANGELOG.md"), made.join("changelog"))?;
    gzip(&made.join("changelog"))?;
    for package in &manifest.packages {
        let changelog = made.join(format!("{}.changelog.Debian", package.name));
        let entry = format!(
            "proxydhcp ({}-{REVISION}) unstable; urgency=medium\n\n  * See changelog.gz of the package \
             proxydhcp.\n\n -- {}  {}\n",
            release.version,
            deb::MAINTAINER,
            release.format("+%a, %d %b %Y %H:%M:%S +0000")?
        );
        fs::write(&changelog, entry)?;
        gzip(&changelog)?;
    }
    Ok(made)
}

/// Puts a compressed file, without a name or a time inside, in the place of a file.
fn gzip(file: &Path) -> Result<()> {
    run(Command::new("gzip").args(["-9nf"]).arg(file))
}
