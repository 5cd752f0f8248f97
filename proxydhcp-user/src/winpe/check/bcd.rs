//! Follows a WinPE's BCDs to the files that clients fetch by them.

use std::collections::BTreeMap;

use super::find::{Root, quoted};
use super::{Finding, Kind, check_file};
use crate::winpe::bcd::device::Device;
use crate::winpe::bcd::network::{DEVICE, Firmware, PATH};
use crate::winpe::bcd::{Bcd, Data, Object, below_root};
use crate::winpe::content;
use crate::winpe::path::{BCD, Rules, UEFI_BCD, WinPe};
use crate::winpe::wim::{Machine, Wim};

/// The files that BCDs name, below the TFTP root, each once.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) ramdisks: Vec<String>,
    pub(super) images: Vec<String>,
    /// Folders.
    pub(super) fonts: Vec<String>,
}

/// The BCDs that clients are sent to, each with the firmware whose loader is there to read it.
pub(super) type Readers = BTreeMap<String, Vec<Firmware>>;

/// Checks the BCDs of a WinPE, and returns what they name.
pub(super) fn follow(
    root: Root<'_>,
    winpe: &WinPe,
    readers: &Readers,
    findings: &mut Vec<Finding>,
) -> Named {
    let mut named = Named::default();
    for (file, readers) in readers {
        let Some(bytes) = check_file(root, file, Kind::Registry, findings) else {
            continue;
        };
        // It has just been judged to be one.
        let bcd = Bcd::parse(&bytes).unwrap_or_default();
        let mut faults = Vec::new();
        follow_one(&bcd, readers, &mut named, &mut faults);
        findings.extend(faults.into_iter().map(|problem| Finding {
            file: file.clone(),
            remedy: remedy(root, winpe, file, readers),
            problem,
        }));
    }
    named
}

/// The images and formats of ramdisks that the WinPE's BCDs name, as far as they can be read.
pub(super) fn named(root: Root<'_>, winpe: &WinPe, rules: Rules<'_>) -> Vec<String> {
    let mut files = Vec::new();
    for file in winpe.bcds(rules.loaders) {
        let bytes = content::read(&root.0.join(file)).unwrap_or_default();
        let bcd = Bcd::parse(&bytes).unwrap_or_default();
        for path in [bcd.image(), bcd.sdi()].into_iter().flatten() {
            add(&mut files, path);
        }
    }
    files
}

/// The machine of the image that the WinPE boots, if that is known.
pub(super) fn machine(root: Root<'_>, winpe: &WinPe, rules: Rules<'_>) -> Option<Machine> {
    let files = named(root, winpe, rules).into_iter();
    let mut images = files.chain(root.images(winpe));
    images.find_map(|image| Wim::read(&root.0.join(image)).ok()?.booted())
}

/// Adds the files that the BCD names, and what is wrong with it for these clients.
fn follow_one(bcd: &Bcd, readers: &[Firmware], named: &mut Named, faults: &mut Vec<String>) {
    if let Some(fonts) = bcd.fonts() {
        add(&mut named.fonts, fonts);
    }
    let Some(loader) = bcd.loader() else {
        faults.push("it names no loader, so clients boot nothing".to_owned());
        return;
    };
    match loader.element(DEVICE) {
        Some(Data::Device(Device::Ramdisk { path, .. })) => {
            add(&mut named.images, path);
            match bcd.sdi() {
                Some(path) => add(&mut named.ramdisks, path),
                None => faults.push("it names no boot.sdi for its ramdisk".to_owned()),
            }
        }
        Some(device) => faults.push(format!(
            "it does not boot from a ramdisk, but from {device}"
        )),
        None => faults.push("its loader has no device to boot from".to_owned()),
    }
    faults.extend(unsuited(loader, readers));
}

/// How the loader in the image does not suit the firmware of clients that read its BCD.
fn unsuited(loader: &Object, readers: &[Firmware]) -> Option<String> {
    let Some(Data::Text(path)) = loader.element(PATH) else {
        return Some("its loader has no path".to_owned());
    };
    let suits = |firmware: &&Firmware| Firmware::of_winload(path) == Some(**firmware);
    let firmware = readers.iter().find(|firmware| !suits(firmware))?;
    Some(format!(
        "{firmware} clients read it, and it boots {}, which {firmware} does not start",
        crate::text::printable(path.as_bytes())
    ))
}

fn add(files: &mut Vec<String>, path: &str) {
    let file = below_root(path);
    // Nothing outside of the TFTP root is looked at.
    if !file.split('/').any(|part| part == "..") && !files.contains(&file) {
        files.push(file);
    }
}

/// How to make the BCD, or the one that UEFI should have of its own.
fn remedy(root: Root<'_>, winpe: &WinPe, file: &str, readers: &[Firmware]) -> String {
    let is_uefi = readers.contains(&Firmware::Uefi);
    let file = if is_uefi && file == winpe.loader(BCD) {
        winpe.loader(UEFI_BCD)
    } else {
        file.to_owned()
    };
    let images = root.images(winpe);
    let default = winpe.loader("Boot/WinPE_64.wim");
    let image = images.first().unwrap_or(&default);
    format!(
        "proxydhcp winpe bcd write {} --firmware {} --image {}",
        quoted(&root.0.join(file)),
        if is_uefi { "uefi" } else { "bios" },
        quoted(image.as_ref())
    )
}
