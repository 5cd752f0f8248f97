//! Lays the files of a package into a folder, as they are to lie below `/`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::manifest::{Content, Entry};
use super::release::Release;
use crate::command::run;

/// Lays them into `folder`, which is made anew.
pub(super) fn lay(entries: &[Entry], folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    make_folder(folder)?;
    for entry in entries {
        let to = folder.join(&entry.to);
        make_folder(to.parent().unwrap_or(folder))?;
        match &entry.content {
            Content::Link(target) => symlink(target, &to)?,
            Content::File { from, mode } => {
                fs::copy(from, &to).with_context(|| from.display().to_string())?;
                fs::set_permissions(&to, fs::Permissions::from_mode(*mode))?;
            }
        }
    }
    Ok(())
}

/// Makes a folder that everybody may enter, whatever the umask.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    if !folder.exists() {
        make_folder(folder.parent().context("a folder without a parent")?)?;
        fs::create_dir(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Gives everything in a folder the time of the release.
pub(super) fn date(folder: &Path, release: &Release) -> Result<()> {
    let date = format!("--date=@{}", release.epoch);
    let mut touch = Command::new("find");
    touch
        .arg(folder)
        .args(["-exec", "touch", "--no-dereference"]);
    run(touch.args([&date, "{}", "+"]))
}

/// The folder for the work on a format.
pub(super) fn work(out: &Path, format: &str) -> PathBuf {
    out.join("work").join(format)
}
