//! Looks into the images that a WinPE boots, where wimlib is installed.

use super::find::Root;
use super::{Checked, Finding, Folder};
use crate::text::printable;
use crate::winpe::bcd::network::PATH;
use crate::winpe::bcd::{Bcd, Data, below_root};
use crate::winpe::content;
use crate::winpe::image::{EX_LOADER, Image};
use crate::winpe::path::Rules;
use crate::winpe::wim::Wim;

/// The year of the newer CA of Microsoft's.
const NEW: u16 = 2023;

/// Adds what is only seen in the images: that the loader that a BCD names is not there, and whether there
/// is one for UEFI that the CA of 2023 has signed.
pub(crate) fn look_inside(checked: &mut Checked, folder: &Folder, rules: Rules<'_>) {
    let Ok(winpe) = &folder.winpe else { return };
    let root = Root(rules.tftp_root);
    let winpe = winpe.clone().looked_up(rules.tftp_root);
    let bcds: Vec<_> = winpe
        .bcds(rules.loaders)
        .into_iter()
        .filter_map(|file| {
            let bytes = content::read(&root.0.join(&file)).ok()?;
            Some((file, Bcd::parse(&bytes).ok()?))
        })
        .collect();
    let files: Vec<_> = checked
        .images
        .iter()
        .map(|image| image.file.clone())
        .collect();
    for file in files {
        let path = root.0.join(&file);
        // What is no WIM has been found to be none.
        let Some(index) = Wim::read(&path).ok().and_then(|wim| wim.boot_index) else {
            continue;
        };
        let image = match Image::open(&path, index) {
            Ok(image) => image,
            Err(error) => {
                let note = format!("{file} was not looked into: {error}");
                checked.notes.push(note);
                continue;
            }
        };
        let of_image = bcds.iter().filter(|(_, bcd)| {
            let named = bcd.image().map(below_root);
            named.as_ref() == Some(&file)
        });
        let findings = of_image.filter_map(|(name, bcd)| no_loader(name, bcd, &file, &image));
        checked.findings.extend(findings);
        let mut signatures = checked.loaders.iter().flat_map(|loader| &loader.signatures);
        let is_new = signatures.any(|signature| signature.year() == Some(NEW));
        if !is_new && !checked.loaders.is_empty() {
            checked.notes.push(match image.find(EX_LOADER) {
                Some(_) => format!(
                    "{file} has a loader that the CA of {NEW} has signed (EFI_EX); `proxydhcp winpe create \
                     --ca {NEW}` takes that"
                ),
                None => format!(
                    "{file} has no loader that the CA of {NEW} has signed (EFI_EX); images with newer \
                     updates have one"
                ),
            });
        }
    }
}

/// What is wrong with a BCD whose loader is not in the image.
fn no_loader(name: &str, bcd: &Bcd, file: &str, image: &Image) -> Option<Finding> {
    let Some(Data::Text(path)) = bcd.loader()?.element(PATH) else {
        return None;
    };
    if image.find(&path.replace('\\', "/")).is_some() {
        return None;
    }
    Some(Finding {
        file: name.to_owned(),
        problem: format!(
            "{file} has no {}, which it boots",
            printable(path.as_bytes())
        ),
        remedy: "make it again with `proxydhcp winpe bcd write --winload`, or the WinPE with \
                 `proxydhcp winpe create`"
            .to_owned(),
    })
}
