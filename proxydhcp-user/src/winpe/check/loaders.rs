//! Checks a WinPE's loaders: whether they are those of the machines that its image is for.

use super::bcd::Readers;
use super::find::Root;
use super::{Checked, Finding, Kind, SignedLoader, check_file};
use crate::winpe::architecture::Architecture;
use crate::winpe::bcd::network::Firmware;
use crate::winpe::path::{Rules, WinPe};
use crate::winpe::signature::signatures;
use crate::winpe::wim::Machine;

/// Checks the loaders that clients are sent to whose machines boot the image, and returns the BCDs that
/// they read. Where the machine is unknown, each boots it.
pub(super) fn check(
    root: Root<'_>,
    winpe: &WinPe,
    machine: Option<Machine>,
    rules: Rules<'_>,
    checked: &mut Checked,
) -> Readers {
    let mut readers = Readers::default();
    let mut is_booted = false;
    for (architectures, path, bcd) in rules.loaders.each() {
        let file = winpe.loader(path);
        let boots = |of: &&usize| machine.is_none_or(|machine| machine.is_booted_by(**of));
        let Some(&architecture) = architectures.iter().find(boots) else {
            if root.0.join(&file).is_file() {
                let unsuited = unsuited(file, &architectures, machine);
                checked.findings.extend(unsuited);
            }
            continue;
        };
        is_booted = true;
        let readers = readers.entry(winpe.bcd(bcd)).or_default();
        if check_one(root, file, Kind::loader_of(architecture), checked) {
            readers.push(Firmware::of_architecture(architecture));
        }
    }
    if let (Some(machine), false) = (machine, is_booted) {
        checked.findings.push(Finding {
            file: checked.path.clone(),
            problem: format!("its image is for {machine}, and no such client is sent to a loader"),
            remedy: "name one under [loaders] in the settings file, such as 11 = \
                     \"Boot/bootmgfw.efi\" for ARM64"
                .to_owned(),
        });
    }
    readers
}

/// Checks a loader, and notes who has signed it; false if clients cannot start it.
fn check_one(root: Root<'_>, file: String, kind: Kind, checked: &mut Checked) -> bool {
    let Some(bytes) = check_file(root, &file, kind, &mut checked.findings) else {
        return false;
    };
    if kind.is_signed() {
        match signatures(&bytes) {
            Ok(signatures) => checked.loaders.push(SignedLoader { file, signatures }),
            Err(problem) => checked.findings.push(Finding {
                file,
                problem,
                remedy: kind.remedy(),
            }),
        }
    }
    true
}

/// What is wrong with a loader whose clients do not boot the image.
fn unsuited(file: String, architectures: &[usize], machine: Option<Machine>) -> Option<Finding> {
    let architecture = Architecture(u16::try_from(*architectures.first()?).ok()?);
    let machine = machine?;
    Some(Finding {
        file,
        problem: format!(
            "a loader for other machines ({architecture}) than the image, which is for {machine}"
        ),
        remedy: "remove it, and make a WinPE for its clients with `proxydhcp winpe create`"
            .to_owned(),
    })
}
