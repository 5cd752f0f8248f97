//! A `winpe create` that is killed at any step leaves the old WinPE or the new one, whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::medium::Medium;

use crate::traced::{self, Call};
use crate::winpe_place::Place;

/// The calls that change what is on the disk, besides writing to files that are open.
const CHANGES: [libc::c_long; 12] = [
    libc::SYS_openat,
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_renameat2,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rmdir,
    libc::SYS_fchmod,
    libc::SYS_fsync,
    libc::SYS_ioctl,
];
/// Of the calls, every which is one to be killed before.
const STRIDE: usize = 5;

/// The files of a WinPE and their bytes; `None` if there is no such folder.
fn content(folder: &Path) -> Result<Option<BTreeMap<PathBuf, Vec<u8>>>> {
    if !folder.exists() {
        return Ok(None);
    }
    let mut content = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                content.insert(path.strip_prefix(folder)?.to_owned(), fs::read(&path)?);
            }
        }
    }
    Ok(Some(content))
}

fn changes(call: &Call) -> Result<bool> {
    Ok(CHANGES.contains(&call.number()?))
}

#[test]
fn a_winpe_is_the_old_or_the_new_whenever_its_maker_is_killed() -> Result<()> {
    let place = Place::new()?;
    let medium = Medium::new(&place.media())?;
    let wim = medium.path("sources/boot.wim");
    let folder = place.winboot("a");
    // One that differs in each file that depends on an option.
    let create = |number: usize| -> Result<Command> {
        let ca = ["2011", "2023"][number % 2];
        place.create("a", &wim, &["--replace", "--ca", ca])
    };
    let mut whole = Vec::new();
    for number in [0, 1] {
        ensure!(create(number)?.output()?.status.success());
        whole.push(content(&folder)?);
    }
    ensure!(whole[0] != whole[1]);
    whole.push(None);
    let which = || -> Result<usize> {
        let now = content(&folder)?;
        let which = whole.iter().position(|whole| *whole == now);
        which.with_context(|| {
            format!(
                "neither the old one nor the new: {:?}",
                now.map(|now| now.into_keys().collect::<Vec<_>>())
            )
        })
    };
    let (mut old, mut new, mut left, mut step) = (0, 0, 0, 0);
    loop {
        let before = which()?;
        let mut seen = 0;
        let code = traced::run(create(1 - before)?, |call| {
            seen += usize::from(changes(call)?);
            Ok(seen <= step)
        })?;
        let after = which().with_context(|| format!("killed before change {step}"))?;
        left += usize::from(place.names()?.len() > 1);
        match code {
            Some(code) => {
                ensure!(code == 0 && after != before, "exit code {code} at {step}");
                break;
            }
            None if after == before => old += 1,
            None => new += 1,
        }
        step += STRIDE;
    }
    println!(
        "killed before every {STRIDE}th of {step} changes: {old} times the old one, {new} the new one; \
         {left} left what they had made"
    );
    ensure!(
        old > 0 && new > 0 && left > 0,
        "it was not killed where it matters"
    );
    // The next one has no trouble, and leaves nothing else.
    ensure!(place.names()? == ["a"], "{:?}", place.names()?);

    // Without an old one, there is none or the new one.
    for stop in [libc::SYS_fsync, libc::SYS_rename] {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let killed = traced::run(create(0)?, |call| Ok(call.number()? != stop))?;
        ensure!(killed.is_none() && which()? == 2, "{killed:?}");
    }
    ensure!(create(0)?.status()?.success() && which()? == 0);
    Ok(())
}

#[test]
fn all_of_it_is_on_the_disk_before_it_has_its_name() -> Result<()> {
    let place = Place::new()?;
    let medium = Medium::new(&place.media())?;
    let folder = place.winboot("a");
    let mut synced = Vec::new();
    let code = traced::run(place.create("a", &medium.path(""), &[])?, |call| {
        if let Some(path) = call.syncs()? {
            synced.push((path, folder.exists()));
        }
        Ok(true)
    })?;
    ensure!(code == Some(0), "{code:?}");
    let winboot = fs::canonicalize(place.winboot(""))?;
    let hidden = winboot.join(".a.new");
    let files = content(&folder)?.context("no folder")?;
    for file in files
        .keys()
        .map(PathBuf::as_path)
        .chain(["", "Boot", "Boot/Fonts"].map(Path::new))
    {
        // Paths below a folder end with no slash.
        let path = hidden
            .components()
            .chain(file.components())
            .collect::<PathBuf>();
        ensure!(synced.contains(&(path, false)), "{file:?} of {synced:?}");
    }
    ensure!(synced.last() == Some(&(winboot, true)), "{synced:?}");
    Ok(())
}
