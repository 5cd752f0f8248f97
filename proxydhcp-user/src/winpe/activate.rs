//! Copies a WinPE's BCD to where clients look for it whose firmware does not support proxyDHCP.
//!
//! They obtain `pxeboot.0` in other ways, and look for `Boot/BCD` in the TFTP root. There is only
//! one such file, so all nodes that are installed at a time must need the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::check::{BOOTMGR, Folder};
use super::content::{self, Kind};
use super::find::{Root, other_case, quoted};
use crate::sys::replace::{self, Lasting};
use crate::winpe::path::{BCD, WinPe};

/// A file to copy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    bytes: Vec<u8>,
}

/// The WinPE of `folder`, if it can be activated.
///
/// # Errors
///
/// If the folder cannot be served, or is the default one.
pub(crate) fn target(folder: &Folder) -> Result<&WinPe> {
    let winpe = match &folder.winpe {
        Ok(winpe) => winpe,
        Err(problem) => bail!("{problem}"),
    };
    if winpe.path().is_empty() {
        bail!(
            "the default WinPE is active unless another was: make its {BCD} again to go back to it"
        );
    }
    Ok(winpe)
}

/// The copies below the TFTP root that make nodes boot the WinPE. Nothing is changed yet.
///
/// # Errors
///
/// If a file is missing or invalid, or exists in another letter case.
pub(crate) fn plan(winpe: &WinPe, root: &Path) -> Result<Vec<Copy>> {
    let mut copies = Vec::new();
    copies.extend(copy(root, &winpe.loader(BCD), BCD, Kind::Registry)?);
    if let Some(other) = other_case(root, BOOTMGR) {
        let (other, right) = (root.join(other), root.join(BOOTMGR));
        bail!(
            "wrong letter case: mv {} {}",
            quoted(&other),
            quoted(&right)
        );
    }
    if !root.join(BOOTMGR).exists() {
        let made = format!("{}{BOOTMGR}", winpe.path());
        copies.extend(copy(root, &made, BOOTMGR, Kind::BootManager)?);
    }
    Ok(copies)
}

/// Copies the files, each in one step, so that a client fetches either the old one or the new one.
pub(crate) fn put(copies: &[Copy]) -> Result<()> {
    copies.iter().try_for_each(|copy| {
        write(copy).with_context(|| format!("cannot write {}", copy.to.display()))
    })
}

fn write(copy: &Copy) -> Result<()> {
    let folder = copy.to.parent().context("it has no folder")?;
    if !folder.is_dir() {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, PermissionsExt::from_mode(0o755))?;
    }
    Ok(replace::write(&copy.to, &copy.bytes, Lasting::Yes)?)
}

/// The copy from one path below the root to another; `None` if the target is identical already.
fn copy(root: &Path, from: &str, to: &str, kind: Kind) -> Result<Option<Copy>> {
    let mut findings = Vec::new();
    let found = Root(root).find(from, &kind.remedy(), &mut findings);
    let Some(path) = found else {
        let findings = findings.iter();
        let told: Vec<_> = findings
            .map(|finding| format!("{}: {}; {}", finding.file, finding.problem, finding.remedy))
            .collect();
        bail!("{}", told.join("; "));
    };
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if let Err(problem) = kind.judge(&bytes) {
        bail!("{}: {problem}; {}", path.display(), kind.remedy());
    }
    for part in Path::new(to)
        .iter()
        .filter_map(|part| part.to_str())
        .take(1)
    {
        if let Some(other) = other_case(root, part) {
            bail!(
                "wrong letter case: mv {} {}",
                quoted(&root.join(other)),
                quoted(&root.join(part))
            );
        }
    }
    let to = root.join(to);
    let same = content::read(&to).is_ok_and(|there| there == bytes);
    Ok((!same).then_some(Copy {
        from: path,
        to,
        bytes,
    }))
}
