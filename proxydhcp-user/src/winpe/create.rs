//! Makes a WinPE's folder from a medium, with programs that read discs and WIMs.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::check::{BOOTMGR, FOLDER};
use crate::sys::new_folder::{self, NewFolder};
use crate::sys::replace::{self, Lasting};
use crate::sys::work::Work;
use crate::winpe::path::{Rules, WinPe};
use crate::winpe::wim::Machine;

use self::additions::Additions;
use self::maker::Maker;
use self::medium::Medium;

pub(crate) mod additions;
mod maker;
mod medium;
mod share;

/// What to make.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// The name of its folder in `winboot/`.
    pub(crate) name: &'a str,
    /// A disc, a folder with what is on one, or a WIM.
    pub(crate) medium: &'a Path,
    /// The machines that it must be for.
    pub(crate) machine: Option<Machine>,
    /// The year of the CA that must have signed its loader for UEFI.
    pub(crate) ca: Option<u16>,
    /// The number of the image in the WIM; else the one that is booted.
    pub(crate) index: Option<u32>,
    pub(crate) additions: Additions,
    /// Whether it may replace a folder.
    pub(crate) replace: bool,
    pub(crate) locale: &'a str,
    pub(crate) block_size: u16,
    pub(crate) window_size: u16,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    /// Its path below the TFTP root.
    pub(crate) path: String,
    /// What it was made from.
    pub(crate) origin: String,
    /// What somebody should know about it.
    pub(crate) notes: Vec<String>,
}

/// Makes a WinPE.
///
/// # Errors
/// Says what the medium lacks, which program is not installed, or what cannot be written. Nothing has
/// changed then.
pub(crate) fn create(recipe: &Recipe<'_>, rules: Rules<'_>, work: &Work) -> Result<Made> {
    make(recipe, rules, work).map_err(|error| match work.go_on() {
        // Whatever else failed: a program that was interrupted, too, is not to blame.
        Err(interrupted) => interrupted.into(),
        Ok(()) => error,
    })
}

fn make(recipe: &Recipe<'_>, rules: Rules<'_>, work: &Work) -> Result<Made> {
    let winpe = winpe(recipe.name, rules)?;
    let root = rules.tftp_root;
    if !root.is_dir() {
        bail!(
            "there is no folder {}; name the TFTP server's folder with --tftp-root",
            root.display()
        );
    }
    let place = root.join(winpe.path());
    if place.exists() && !recipe.replace {
        bail!("{} exists; --replace replaces it", place.display());
    }
    let medium = Medium::open(recipe.medium)?;
    make_folder(&root.join(FOLDER))?;
    let folder = NewFolder::begin(&place)?;
    let mut maker = Maker::begin(recipe, rules, work, &winpe, folder.path(), &medium)?;
    maker.put_sdi(&medium)?;
    maker.put_loaders()?;
    maker.put_fonts()?;
    maker.put_additions()?;
    maker.share()?;
    work.step("writing to the disk", None)?;
    if let Some(bytes) = maker.bootmgr.take()
        && !root.join(BOOTMGR).exists()
    {
        replace::write(&root.join(BOOTMGR), &bytes, Lasting::Yes)
            .with_context(|| format!("cannot write {}", root.join(BOOTMGR).display()))?;
    }
    let made = Made {
        path: winpe.path().to_owned(),
        origin: format!(
            "image {} of {}, for {}",
            maker.index,
            medium.image.shown(),
            maker.machine
        ),
        notes: maker.notes,
    };
    folder.put()?;
    Ok(made)
}

/// Removes a WinPE's folder in one step.
///
/// # Errors
/// It cannot be removed.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    new_folder::take_away(folder)
}

/// The WinPE of this name.
fn winpe(name: &str, rules: Rules<'_>) -> Result<WinPe> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "._+-".contains(char);
    if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(is_plain) {
        bail!(
            "{name:?} is no name for a WinPE: use letters, digits, dots, hyphens and underscores"
        );
    }
    Ok(WinPe::parse(format!("{FOLDER}/{name}").as_bytes(), rules)?)
}

fn make_folder(folder: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make the folder {}", folder.display()))
        }
        _ => Ok(()),
    }
}
