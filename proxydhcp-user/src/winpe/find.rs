//! Checks whether a TFTP server finds a file: it matches names exactly, and reads files as an
//! unprivileged user.

use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::winpe::path::WinPe;

/// The permission bit for everybody to read.
const READ: u32 = 0o004;
/// The permission bit for everybody to pass through the folder.
const SEARCH: u32 = 0o001;

/// The TFTP root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root<'a>(pub(super) &'a Path);

impl Root<'_> {
    /// Finds a file below the root, and records what prevents a TFTP server from reading it.
    /// `remedy` is for a missing file.
    pub(super) fn find(
        self,
        file: &str,
        remedy: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<PathBuf> {
        let mut at = self.0.to_owned();
        let mut parts = file.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            if fs::metadata(&at).is_ok_and(|folder| !may(&folder, SEARCH)) {
                self.note(
                    findings,
                    &at,
                    "the TFTP server's user may not enter this folder".to_owned(),
                    format!("chmod o+x {}", quoted(&at)),
                );
            }
            let next = at.join(part);
            let Ok(metadata) = fs::metadata(&next) else {
                let (at, problem, remedy) = self.absence(file, &at, part, remedy);
                self.note(findings, &at, problem, remedy);
                return None;
            };
            let is_last = parts.peek().is_none();
            if metadata.is_dir() == is_last {
                let problem = if is_last {
                    "a folder, not a file"
                } else {
                    "not a folder"
                };
                self.note(findings, &next, problem.to_owned(), remedy.to_owned());
                return None;
            }
            if is_last && !may(&metadata, READ) {
                self.note(
                    findings,
                    &next,
                    "the TFTP server's user may not read it".to_owned(),
                    format!("chmod o+r {}", quoted(&next)),
                );
            }
            at = next;
        }
        Some(at)
    }

    /// Why `part` of a file's path is not in the folder `at`: the place, the problem and the
    /// remedy.
    fn absence(self, file: &str, at: &Path, part: &str, remedy: &str) -> (PathBuf, String, String) {
        let next = at.join(part);
        if let Ok(target) = fs::read_link(&next) {
            let target = target.display();
            let problem = format!("a symbolic link to {target}, which does not exist");
            return (next, problem, remedy.to_owned());
        }
        let Some(other) = other_case(at, part) else {
            return (self.0.join(file), "missing".to_owned(), remedy.to_owned());
        };
        let problem = format!(
            "wrong letter case: clients ask for {part}, which is not {other} to a TFTP server"
        );
        let there = at.join(other);
        let remedy = format!("mv {} {}", quoted(&there), quoted(&next));
        (there, problem, remedy)
    }

    /// Records a problem with a file or folder once, because a folder is on the way to many files.
    fn note(self, findings: &mut Vec<Finding>, at: &Path, problem: String, remedy: String) {
        let below = at.strip_prefix(self.0).unwrap_or(at);
        let shown = if below.as_os_str().is_empty() {
            at
        } else {
            below
        };
        let finding = Finding {
            file: shown.display().to_string(),
            problem,
            remedy,
        };
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    /// Whether the file exists, ignoring letter case.
    pub(super) fn has_any_case(self, file: &str) -> bool {
        let mut at = self.0.to_owned();
        for part in file.split('/') {
            let next = at.join(part);
            at = match other_case(&at, part) {
                _ if next.exists() => next,
                Some(other) => at.join(other),
                None => return false,
            };
        }
        true
    }

    /// The images in a WinPE's folders, used if its BCD names none.
    pub(super) fn images(self, winpe: &WinPe) -> Vec<String> {
        let mut images = Vec::new();
        for folder in ["Boot", "sources", "Sources"] {
            let folder = format!("{}{folder}", winpe.path());
            let entries = fs::read_dir(self.0.join(&folder)).into_iter().flatten();
            let names = entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned());
            let names = names.filter(|name| name.to_ascii_lowercase().ends_with(".wim"));
            images.extend(names.map(|name| format!("{folder}/{name}")));
        }
        images.sort_unstable();
        images
    }
}

fn may(metadata: &Metadata, mode: u32) -> bool {
    metadata.permissions().mode() & mode != 0
}

/// The name in the folder that differs from `name` only in letter case.
pub(super) fn other_case(folder: &Path, name: &str) -> Option<String> {
    fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|other| other != name && other.to_lowercase() == name.to_lowercase())
}

/// The path, quoted for a shell.
pub(super) fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |char: char| char.is_alphanumeric() || "/._-+,@:".contains(char);
    if path.chars().all(is_plain) {
        path
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}
