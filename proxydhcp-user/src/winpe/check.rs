//! Checks the WinPEs below the TFTP root: which there are, and whether clients can boot them.
//!
//! A WinPE is a folder `winboot/NAME/`; the default one is in the TFTP root itself, in `Boot/`. A
//! client fetches from there by TFTP, which matches names exactly: a loader, `bootmgr.exe` from the
//! root, the BCD, and the files that the BCD names.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::content::{self, Kind};
use super::find::{self, Root};
use super::finding::Finding;
use crate::text::and_more;
use crate::winpe::path::{Rules, WinPe};
use crate::winpe::signature::Signature;

use self::bcd::Named;

mod bcd;
mod inside;
mod loaders;

pub(crate) use inside::look_inside;

/// The folder that contains the WinPEs with a name.
pub(super) const FOLDER: &str = "winboot";
/// The name of the default WinPE, after its folder.
const DEFAULT: &str = "Boot";
/// The boot manager of BIOS clients, which all WinPEs share. It is in the TFTP root itself.
pub(crate) const BOOTMGR: &str = "bootmgr.exe";
/// The font that the boot manager asks for first.
pub(crate) const FONT: &str = "wgl4_boot.ttf";

/// A WinPE's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its name: that of its folder in `winboot/`, or [`DEFAULT`].
    pub name: String,
    /// The WinPE, or why it cannot be served.
    pub winpe: Result<WinPe, String>,
}

/// The findings about a WinPE.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Its name.
    pub name: String,
    /// Its folder below the TFTP root, as records must name it.
    pub path: String,
    /// The images that it boots, with their sizes.
    pub images: Vec<Image>,
    /// The loaders for UEFI that are there, and who has signed them.
    pub loaders: Vec<SignedLoader>,
    /// What is not there and is missed by some clients only.
    pub notes: Vec<String>,
    /// The problems with it; empty if there are none.
    pub findings: Vec<Finding>,
}

/// An image that a WinPE boots.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// The file's path, below the TFTP root.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A loader for UEFI.
#[derive(Clone, Debug, Serialize)]
pub struct SignedLoader {
    /// The file's path, below the TFTP root.
    pub file: String,
    /// Its signatures.
    pub signatures: Vec<Signature>,
}

/// All WinPEs: first the default one, if it has one of the loaders, then the others by name.
///
/// # Errors
///
/// If the TFTP root or its `winboot/` cannot be read.
pub fn folders(rules: Rules<'_>) -> Result<Vec<Folder>> {
    let root = rules.tftp_root;
    let shown = root.display();
    if !root.is_dir() {
        bail!("there is no folder {shown}; name the TFTP server's folder with --tftp-root");
    }
    let mut folders = Vec::new();
    let default = Root(root);
    if rules
        .loaders
        .paths()
        .iter()
        .any(|path| default.has_any_case(path))
    {
        folders.push(Folder {
            name: DEFAULT.to_owned(),
            winpe: Ok(WinPe::default()),
        });
    }
    let winboot = root.join(FOLDER);
    let entries = match fs::read_dir(&winboot) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(folders),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", winboot.display()));
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", winboot.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    folders.extend(names.into_iter().map(|name| named(name, rules)));
    Ok(folders)
}

/// The WinPE with this name, this path below the TFTP root, or this absolute path.
///
/// # Errors
///
/// If there is no such folder.
pub fn folder(name: &str, rules: Rules<'_>) -> Result<Folder> {
    let root = rules.tftp_root;
    let folder = if name == DEFAULT {
        Folder {
            name: name.to_owned(),
            winpe: Ok(WinPe::default()),
        }
    } else if name.contains('/') {
        let winpe = WinPe::parse(name.as_bytes(), rules)?;
        Folder {
            name: name.to_owned(),
            winpe: Ok(winpe),
        }
    } else {
        named(name.to_owned(), rules)
    };
    if let Ok(winpe) = &folder.winpe
        && !root.join(winpe.path()).is_dir()
    {
        let known = folders(rules)?.into_iter();
        let known: Vec<_> = known.map(|known| known.name).collect();
        bail!(
            "there is no folder {}; these exist: {}",
            root.join(winpe.path()).display(),
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        );
    }
    Ok(folder)
}

fn named(name: String, rules: Rules<'_>) -> Folder {
    let winpe = WinPe::parse(format!("{FOLDER}/{name}").as_bytes(), rules);
    Folder {
        name,
        winpe: winpe.map_err(|error| error.to_string()),
    }
}

/// What keeps clients from booting a WinPE, on one line; `None` if nothing does, or if the TFTP root is
/// not on this host.
pub fn fault(winpe: &WinPe, rules: Rules<'_>) -> Option<String> {
    let root = rules.tftp_root;
    if !root.is_dir() {
        return None;
    }
    let folder = root.join(winpe.path());
    if !folder.is_dir() {
        return Some(format!(
            "there is no folder {}; `proxydhcp winpe list` shows which WinPEs there are",
            folder.display()
        ));
    }
    let name = match winpe.path() {
        "" => DEFAULT.to_owned(),
        path => path.trim_end_matches('/').to_owned(),
    };
    let winpe = Ok(winpe.clone());
    let Checked { findings, .. } = check(&Folder { name, winpe }, rules);
    let Finding {
        file,
        problem,
        remedy,
    } = findings.first()?;
    Some(format!(
        "{file}: {problem}{}; {remedy}",
        and_more(findings.len() - 1)
    ))
}

/// Whether a BCD of the WinPE names files in this folder below the TFTP root.
pub(crate) fn names_files_below(folder: &Folder, path: &str, rules: Rules<'_>) -> bool {
    let Ok(winpe) = &folder.winpe else {
        return false;
    };
    let winpe = winpe.clone().looked_up(rules.tftp_root);
    let mut named = bcd::named(Root(rules.tftp_root), &winpe, rules).into_iter();
    named.any(|file| file.starts_with(path))
}

/// Checks the files of a WinPE, including its loaders.
pub fn check(folder: &Folder, rules: Rules<'_>) -> Checked {
    let mut checked = Checked {
        name: folder.name.clone(),
        path: format!("{FOLDER}/{}/", folder.name),
        images: Vec::new(),
        loaders: Vec::new(),
        notes: Vec::new(),
        findings: Vec::new(),
    };
    let winpe = match &folder.winpe {
        Ok(winpe) => winpe,
        Err(problem) => {
            checked.findings.push(Finding {
                file: checked.path.clone(),
                problem: problem.clone(),
                remedy: "rename the folder".to_owned(),
            });
            return checked;
        }
    };
    winpe.path().clone_into(&mut checked.path);
    let root = Root(rules.tftp_root);
    let looked_up = winpe.clone().looked_up(rules.tftp_root);
    let machine = bcd::machine(root, &looked_up, rules);
    let readers = loaders::check(root, &looked_up, machine, rules, &mut checked);
    let findings = &mut checked.findings;
    if machine.is_none_or(|machine| machine.is_booted_by(0)) {
        check_bootmgr(root, winpe, findings);
    }
    let Named {
        mut ramdisks,
        mut images,
        fonts,
    } = bcd::follow(root, winpe, &readers, findings);
    for folder in &fonts {
        check_file(root, &format!("{folder}/{FONT}"), Kind::Font, findings);
    }
    // Without a BCD it is unknown which files it names; most likely those that genimage makes.
    if ramdisks.is_empty() {
        ramdisks.push(format!("{}Boot/boot.sdi", winpe.path()));
    }
    for file in &ramdisks {
        check_file(root, file, Kind::Ramdisk, findings);
    }
    if images.is_empty() {
        images = root.images(winpe);
    }
    if images.is_empty() {
        findings.push(Finding {
            file: format!("{}Boot/WinPE_64.wim", winpe.path()),
            problem: "there is no image (*.wim) in Boot/ or sources/".to_owned(),
            remedy: Kind::Image.remedy(),
        });
    }
    for file in images {
        check_file(root, &file, Kind::Image, findings);
        if let Ok(metadata) = fs::metadata(root.0.join(&file)) {
            checked.images.push(Image {
                file,
                size: metadata.len(),
            });
        }
    }
    checked.notes = missed(root, winpe);
    checked
}

/// What WinPEs have that are made now, and older ones do without.
fn missed(root: Root<'_>, winpe: &WinPe) -> Vec<String> {
    let files = [
        ("Boot/Fonts/wgl4_boot.ttf", "the boot manager's fonts"),
        (
            "Boot/boot.stl",
            "which boot managers since Windows 11 24H2 want",
        ),
    ];
    let missed = files.iter().filter_map(|(file, what)| {
        let file = winpe.loader(file);
        (!root.has_any_case(&file)).then(|| format!("there is no {file}, {what}"))
    });
    missed.collect()
}

/// Checks a file, and returns its first bytes if it can be read.
fn check_file(
    root: Root<'_>,
    file: &str,
    kind: Kind,
    findings: &mut Vec<Finding>,
) -> Option<Vec<u8>> {
    let path = root.find(file, &kind.remedy(), findings)?;
    let judged = content::read(&path)
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|bytes| kind.judge(&bytes).map(|()| bytes));
    match judged {
        Ok(bytes) => Some(bytes),
        Err(problem) => {
            findings.push(Finding {
                file: file.to_owned(),
                problem,
                remedy: kind.remedy(),
            });
            None
        }
    }
}

/// Checks `bootmgr.exe`: genimage makes it in the WinPE's folder, and clients ask for it in the
/// root.
fn check_bootmgr(root: Root<'_>, winpe: &WinPe, findings: &mut Vec<Finding>) {
    let made = root.0.join(winpe.path()).join(BOOTMGR);
    let remedy = if !winpe.path().is_empty() && made.is_file() {
        let target = root.0.join(BOOTMGR);
        format!("cp {} {}", find::quoted(&made), find::quoted(&target))
    } else {
        Kind::BootManager.remedy()
    };
    let before = findings.len();
    check_file(root, BOOTMGR, Kind::BootManager, findings);
    for finding in findings.iter_mut().skip(before) {
        if finding.remedy == Kind::BootManager.remedy() {
            finding.remedy.clone_from(&remedy);
        }
    }
}

#[cfg(test)]
mod tests;
