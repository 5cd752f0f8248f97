//! Images that several WinPEs have are on the disk once.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::ioctl_ficlone;
use rustix::process::geteuid;

use crate::sys::work::Work;

/// The bytes that are compared at a time.
const PIECE: usize = 1 << 20;
/// The mode of the files of a WinPE.
const MODE: u32 = 0o644;

/// Makes an image share its bytes with an equal one of another WinPE below `winboot`, and returns that:
/// as a copy that has the same blocks where the file system can do that, else as a hard link.
///
/// # Errors
/// The work is interrupted, or the image cannot be read.
pub(super) fn with_another(image: &Path, winboot: &Path, work: &Work) -> Result<Option<PathBuf>> {
    let own = fs::metadata(image)?;
    for other in images(winboot) {
        work.go_on()?;
        let Ok(metadata) = fs::symlink_metadata(&other) else {
            continue;
        };
        if may_be_shared(&metadata, &own) && is_equal(image, &other, work)? && take(image, &other)?
        {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

/// The images of the WinPEs that there are.
fn images(winboot: &Path) -> Vec<PathBuf> {
    let in_folder = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_hidden = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b".")
    };
    let folders = in_folder(winboot)
        .into_iter()
        .filter(|path| !is_hidden(path));
    let files = folders.flat_map(|folder| in_folder(&folder.join("Boot")));
    let mut images: Vec<_> = files
        .filter(|file| {
            file.extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("wim"))
        })
        .collect();
    images.sort_unstable();
    images
}

/// Whether a file is one that may have the same bytes, and that nobody else may change.
fn may_be_shared(other: &Metadata, own: &Metadata) -> bool {
    other.is_file()
        && other.len() == own.len()
        && other.dev() == own.dev()
        && other.ino() != own.ino()
        && other.uid() == geteuid().as_raw()
        && other.mode() & 0o7777 == MODE
}

fn is_equal(one: &Path, other: &Path, work: &Work) -> Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let mut pieces = [vec![0; PIECE], vec![0; PIECE]];
    loop {
        work.go_on()?;
        let [first, second] = &mut pieces;
        let length = fill(&mut one, first)?;
        if fill(&mut other, second)? != length || first.get(..length) != second.get(..length) {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the piece is full or the file ends.
fn fill(file: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Puts the other file in the place of the image; false if the file system can do neither.
fn take(image: &Path, other: &Path) -> io::Result<bool> {
    let own = File::options().write(true).open(image)?;
    if ioctl_ficlone(&own, File::open(other)?).is_ok() {
        return Ok(true);
    }
    let link = image.with_extension("link");
    if fs::hard_link(other, &link).is_err() {
        return Ok(false);
    }
    fs::rename(&link, image)?;
    Ok(true)
}
