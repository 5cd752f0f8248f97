//! A tarball, for systems without packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::manifest::Manifest;
use super::release::Release;
use super::{Format, tree};
use crate::command::run;

/// Makes it of the first package. Settings are left out, as unpacking would overwrite a site's; the
/// documents have them as an example.
pub(super) fn make(
    manifest: &Manifest,
    made: &Path,
    release: &Release,
    out: &Path,
) -> Result<Vec<PathBuf>> {
    let package = manifest.packages.first().context("no package")?;
    let mut entries = package.entries(Format::Tar, made)?;
    entries.retain(|entry| !entry.is_config);
    let folder = tree::work(out, "tar");
    tree::lay(&entries, &folder)?;
    tree::date(&folder, release)?;
    let file = out.join(format!(
        "{}-{}-x86_64.tar.gz",
        package.name, release.version
    ));
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--owner=root:0",
        "--group=root:0",
        "--format=gnu",
    ]);
    tar.args(["--use-compress-program=gzip -9n", "--file"]);
    tar.arg(&file).arg("--directory").arg(&folder);
    // Files alone: folders that exist keep their rights.
    let paths = entries.iter().map(|entry| &entry.to);
    run(release.date(tar.args(paths)))?;
    Ok(vec![file])
}
