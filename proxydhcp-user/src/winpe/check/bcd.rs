//! Follows a WinPE's BCDs to the files that clients fetch by them.

use super::find::{Root, quoted};
use super::{Finding, Kind, check_file};
use crate::winpe::bcd::device::Device;
use crate::winpe::bcd::network::{DEVICE, Firmware, PATH};
use crate::winpe::bcd::{Bcd, Data, Object, below_root};
use crate::winpe::path::{BCD, UEFI_BCD, WinPe};

/// The files that BCDs name, below the TFTP root, each once.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) ramdisks: Vec<String>,
    pub(super) images: Vec<String>,
}

/// Checks the BCDs of a WinPE, whose loaders for these kinds of firmware are there, and returns what
/// they name.
pub(super) fn follow(
    root: Root<'_>,
    winpe: &WinPe,
    firmware: &[Firmware],
    findings: &mut Vec<Finding>,
) -> Named {
    let uefi = format!("{}{UEFI_BCD}", winpe.path());
    // UEFI clients are sent to the BCD of BIOS clients where there is no other.
    let has_own = root.0.join(&uefi).is_file();
    let mut common = firmware.to_vec();
    common.retain(|&firmware| !has_own || firmware == Firmware::Bios);
    let mut bcds = vec![(format!("{}{BCD}", winpe.path()), common)];
    if has_own {
        bcds.push((uefi, vec![Firmware::Uefi]));
    }
    let mut named = Named::default();
    for (file, readers) in bcds {
        let Some(bytes) = check_file(root, &file, Kind::Registry, findings) else {
            continue;
        };
        // It has just been judged to be one.
        let bcd = Bcd::parse(&bytes).unwrap_or_default();
        let mut faults = Vec::new();
        follow_one(&bcd, &readers, &mut named, &mut faults);
        findings.extend(faults.into_iter().map(|problem| Finding {
            file: file.clone(),
            remedy: remedy(root, winpe, &readers),
            problem,
        }));
    }
    named
}

/// Adds the files that the BCD names, and what is wrong with it for these clients.
fn follow_one(bcd: &Bcd, readers: &[Firmware], named: &mut Named, faults: &mut Vec<String>) {
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

/// How to make the BCD of the last of these kinds of firmware: UEFI has one of its own.
fn remedy(root: Root<'_>, winpe: &WinPe, readers: &[Firmware]) -> String {
    let (file, firmware) = match readers.last() {
        Some(Firmware::Uefi) => (UEFI_BCD, "uefi"),
        _ => (BCD, "bios"),
    };
    let images = root.images(winpe);
    let default = format!("{}Boot/WinPE_64.wim", winpe.path());
    let image = images.first().unwrap_or(&default);
    let file = root.0.join(winpe.path()).join(file);
    format!(
        "proxydhcp winpe bcd write {} --firmware {firmware} --image {}",
        quoted(&file),
        quoted(image.as_ref())
    )
}
