//! The folders of pins, of all layouts and network namespaces.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::leftover::{Home, Leftover};
use super::{LAST_FLAT, LAYOUT, LINK, Pins, forget_program, is_number, lock};
use crate::datapath::xdp::deadline;
use crate::sys::trusted::TrustedFolder;

/// See [`Pins::leftovers`].
pub(super) fn leftovers(pins: &Pins, own: &[u32]) -> io::Result<Vec<Leftover>> {
    let mut found: Vec<Leftover> = Vec::new();
    for layout in folders_in(&pins.root)? {
        for (home, folder) in homes(pins, &layout)? {
            let is_own = |name: &str| own.iter().any(|index| index.to_string() == name);
            for interface in folders_in(&folder)? {
                if matches!(home, Home::Own) && is_own(interface.name()) {
                    continue;
                }
                let leftover = Leftover::open(interface.path().to_owned(), home.clone());
                // A daemon that was killed in the midst of moving a link has left it twice.
                if found.iter().any(|other| other.is_of_the_link_of(&leftover)) {
                    leftover.forget()?;
                } else {
                    found.push(leftover);
                }
            }
        }
    }
    Ok(found)
}

/// The folders in a layout's whose folders are interfaces that this daemon may look at.
fn homes(pins: &Pins, layout: &TrustedFolder) -> io::Result<Vec<(Home, TrustedFolder)>> {
    if is_flat(layout) {
        return Ok(vec![(Home::Flat, layout.again()?)]);
    }
    let mut homes = Vec::new();
    for namespace in folders_in(layout)? {
        if namespace.name() != pins.namespace {
            homes.extend(gone(namespace)?);
        } else if layout.name() == LAYOUT.to_string() {
            homes.push((Home::Own, namespace));
        } else {
            homes.push((Home::Former, namespace));
        }
    }
    Ok(homes)
}

/// Another namespace's folder, where neither a daemon nor an interface is left of it.
fn gone(namespace: TrustedFolder) -> io::Result<Option<(Home, TrustedFolder)>> {
    if lock(&namespace, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    let interfaces = folders_in(&namespace)?;
    let is_gone = |it: &TrustedFolder| Leftover::open(it.path().to_owned(), Home::Own).is_gone();
    if !interfaces.iter().all(is_gone) {
        return Ok(None);
    }
    if interfaces.is_empty() {
        forget_program(&namespace);
    }
    let held = Arc::new(namespace.again()?);
    Ok(Some((Home::Gone(held), namespace)))
}

/// The links that are pinned.
pub(super) fn links(root: &TrustedFolder) -> Vec<PathBuf> {
    let mut links = Vec::new();
    for layout in folders_in(root).unwrap_or_default() {
        let within = folders_in(&layout).unwrap_or_default();
        let interfaces = if is_flat(&layout) {
            within
        } else {
            let folders = within.iter().map(folders_in);
            folders.flat_map(Result::unwrap_or_default).collect()
        };
        let held = interfaces.iter().filter(|interface| interface.has(LINK));
        links.extend(held.map(|interface| interface.path().join(LINK)));
    }
    links
}

/// The pinned deadlines, of one network namespace or of all.
pub(super) fn deadlines(root: &TrustedFolder, namespace: Option<&str>) -> Vec<PathBuf> {
    let layouts = folders_in(root).unwrap_or_default();
    let namespaces = layouts
        .iter()
        .filter(|layout| !is_flat(layout))
        .flat_map(|layout| folders_in(layout).unwrap_or_default());
    namespaces
        .filter(|folder| namespace.is_none_or(|name| folder.name() == name))
        .filter(|folder| folder.has(deadline::MAP))
        .map(|folder| folder.path().join(deadline::MAP))
        .collect()
}

fn is_flat(layout: &TrustedFolder) -> bool {
    layout.name().parse::<u32>().is_ok_and(|it| it <= LAST_FLAT)
}

/// The folders in a folder that may be this program's. What else there is was not put there by it,
/// and is left alone.
fn folders_in(folder: &TrustedFolder) -> io::Result<Vec<TrustedFolder>> {
    let names = folder.names().map_err(|error| {
        let folder = folder.path().display();
        io::Error::new(error.kind(), format!("{folder}: {error}"))
    })?;
    let folders = names.iter().filter(|name| is_number(name));
    // One that is gone by now, or is no folder.
    Ok(folders.filter_map(|name| folder.child(name).ok()).collect())
}
