//! Fills the folder of a new WinPE, step by step.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::additions::STARTNET;
use super::medium::{Medium, Part};
use super::{Recipe, make_folder, share};
use crate::sys::work::Work;
use crate::winpe::bcd::network::{Firmware, NetworkBoot};
use crate::winpe::bcd::with_backslashes;
use crate::winpe::check::{BOOTMGR, FOLDER, FONT};
use crate::winpe::content::Kind;
use crate::winpe::image::{EX_LOADER, Image};
use crate::winpe::loaders::BcdChoice;
use crate::winpe::path::{BCD, Rules, UEFI_BCD, WinPe};
use crate::winpe::signature::{meaning, signatures};
use crate::winpe::wim::{Machine, Wim};

/// The image below a WinPE's folder. genimage.cmd has the same name for it.
const IMAGE: &str = "Boot/WinPE_64.wim";
const SDI: &str = "Boot/boot.sdi";
/// The largest image, in bytes; the boot manager loads it into memory.
const LARGEST: u64 = 16 << 30;
/// The largest format of a ramdisk, in bytes; it has 3 MiB.
const LARGEST_SDI: u64 = 64 << 20;
/// The loader of ARM64 clients where the settings name none.
const ARM64_LOADER: &str = "Boot/bootmgfw.efi";
/// Fills a new folder.
pub(super) struct Maker<'a> {
    recipe: &'a Recipe<'a>,
    rules: Rules<'a>,
    work: &'a Work,
    winpe: &'a WinPe,
    folder: &'a Path,
    pub(super) index: u32,
    pub(super) machine: Machine,
    image: Image,
    /// For the TFTP root.
    pub(super) bootmgr: Option<Vec<u8>>,
    pub(super) notes: Vec<String>,
}

impl<'a> Maker<'a> {
    /// Takes the image from the medium, and looks into it.
    pub(super) fn begin(
        recipe: &'a Recipe<'a>,
        rules: Rules<'a>,
        work: &'a Work,
        winpe: &'a WinPe,
        folder: &'a Path,
        medium: &Medium,
    ) -> Result<Self> {
        make_folder(&folder.join("Boot"))?;
        let path = folder.join(IMAGE);
        let shown = medium.image.shown();
        copy(&medium.image, &path, LARGEST, work)?;
        work.step("looking into the image", None)?;
        let wim = Wim::read(&path).with_context(|| format!("{shown}: not a sound WIM"))?;
        let index = recipe.index.or(wim.boot_index).unwrap_or(1);
        if !wim.has(index) {
            bail!("{shown}: has no image {index}; `wimlib-imagex info` lists those that it has");
        }
        let machine = wim.machine(index);
        let machine = machine.with_context(|| {
            format!("{shown}: image {index} does not say for which machines it is")
        })?;
        if recipe.machine.is_some_and(|wanted| wanted != machine) {
            bail!(
                "{shown}: image {index} is for {machine}; leave --arch out, or take another medium"
            );
        }
        let image = Image::open(&path, index).with_context(|| shown)?;
        if wim.boot_index != Some(index) {
            image.boot()?;
        }
        Ok(Self {
            recipe,
            rules,
            work,
            winpe,
            folder,
            index,
            machine,
            image,
            bootmgr: None,
            notes: Vec::new(),
        })
    }

    pub(super) fn put_sdi(&self, medium: &Medium) -> Result<()> {
        let path = self.folder.join(SDI);
        if let Some(sdi) = &medium.sdi {
            copy(sdi, &path, LARGEST_SDI, self.work)?;
            let mut head = Vec::new();
            File::open(&path)?.take(8).read_to_end(&mut head)?;
            return Kind::Ramdisk
                .judge(&head)
                .map_err(|problem| anyhow!("{}: {problem}", sdi.shown()));
        }
        let inside = ["PCAT", "EFI"].map(|of| format!("/Windows/Boot/DVD/{of}/boot.sdi"));
        let found = inside.iter().find(|path| self.image.find(path).is_some());
        let found = found.with_context(|| {
            format!(
                "there is no boot.sdi beside {} or in it; name the whole medium, which has boot/boot.sdi",
                medium.image.shown()
            )
        })?;
        self.put("Boot/boot.sdi", found, Kind::Ramdisk)?;
        Ok(())
    }

    /// Takes each loader that clients of the image are sent to, and writes the BCD that it reads.
    pub(super) fn put_loaders(&mut self) -> Result<()> {
        let mut loaders = Vec::new();
        for (architectures, path, bcd) in self.rules.loaders.each() {
            let boots = |of: &&usize| self.machine.is_booted_by(**of);
            if let Some(&architecture) = architectures.iter().find(boots) {
                loaders.push((architecture, path, bcd.clone()));
            }
        }
        if loaders.is_empty() && self.machine == Machine::Arm64 {
            loaders.push((11, ARM64_LOADER, BcdChoice::Firmware(Firmware::Uefi)));
            self.notes.push(format!(
                "ARM64 clients are sent to no loader yet: add `11 = \"{ARM64_LOADER}\"` to [loaders] in \
                 the settings file, and restart the daemon"
            ));
        }
        if loaders.is_empty() {
            bail!(
                "the image is for {}, and no such client is sent to a loader by [loaders] in the \
                 settings file",
                self.machine
            );
        }
        for (architecture, path, bcd) in loaders {
            let firmware = Firmware::of_architecture(architecture);
            match firmware {
                Firmware::Bios => self.put_bios(path)?,
                Firmware::Uefi => self.put_efi(path, Kind::loader_of(architecture))?,
            }
            let bcd = match bcd {
                BcdChoice::Path(path) => path,
                BcdChoice::Firmware(Firmware::Bios) => BCD.to_owned(),
                BcdChoice::Firmware(Firmware::Uefi) => UEFI_BCD.to_owned(),
            };
            self.put_bcd(&bcd, firmware)?;
        }
        Ok(())
    }

    fn put_bios(&mut self, path: &str) -> Result<()> {
        self.put(path, "/Windows/Boot/PXE/pxeboot.n12", Kind::BootProgram)
            .context("0 = \"\" under [loaders] in the settings file does without BIOS clients")?;
        let bytes = self.put(BOOTMGR, "/Windows/Boot/PXE/bootmgr.exe", Kind::BootManager)?;
        self.bootmgr = Some(bytes);
        Ok(())
    }

    fn put_efi(&mut self, path: &str, kind: Kind) -> Result<()> {
        let usual = "/Windows/Boot/EFI/bootmgfw.efi";
        let (from, is_new) = match self.image.find(EX_LOADER) {
            Some(_) if self.recipe.ca == Some(2023) => (EX_LOADER, true),
            _ => (usual, false),
        };
        let bytes = self.put(path, from, kind)?;
        if let Some(year) = self.recipe.ca {
            let signed = signatures(&bytes).map_err(|problem| anyhow!("{from}: {problem}"))?;
            if !signed
                .iter()
                .any(|signature| signature.year() == Some(year))
            {
                bail!(
                    "the image has no loader that the CA of {year} has signed: {from} is {}; take a medium \
                     {}",
                    meaning(&signed),
                    if is_new || year == 2023 {
                        "with newer updates, which has Windows/Boot/EFI_EX"
                    } else {
                        "without the newest updates"
                    }
                );
            }
        }
        Ok(())
    }

    fn put_bcd(&self, path: &str, firmware: Firmware) -> Result<()> {
        let below_root = |file: &str| with_backslashes(Path::new(&self.winpe.loader(file)));
        let name = match firmware {
            Firmware::Bios => "winload.exe",
            Firmware::Uefi => "winload.efi",
        };
        let places = ["/Windows/System32/Boot/", "/Windows/System32/"];
        let found = places
            .iter()
            .find_map(|folder| self.image.find(&format!("{folder}{name}")));
        let winload = found.with_context(|| {
            format!(
                "the image has no {name}, neither in {} nor in {}",
                places[0], places[1]
            )
        })?;
        let boot = NetworkBoot {
            firmware,
            image: below_root(IMAGE),
            sdi: below_root(SDI),
            winload: winload.replace('/', "\\"),
            fonts: self.has_fonts().then(|| below_root("Boot/Fonts")),
            locale: self.recipe.locale.to_owned(),
            block_size: self.recipe.block_size,
            window_size: self.recipe.window_size,
        };
        self.write(path, &boot.bcd().bytes())
    }

    fn has_fonts(&self) -> bool {
        let fonts = self.fonts();
        fonts.iter().any(|(_, name)| name == FONT)
    }

    /// The fonts in the image, and their names for the boot manager.
    fn fonts(&self) -> Vec<(String, String)> {
        let of = |folder: &str, end: &str| -> Vec<(String, String)> {
            let names = self.image.names(folder).into_iter();
            let named = names.filter_map(|name| {
                let lower = name.to_ascii_lowercase();
                let stem = lower.strip_suffix(end)?;
                let is_plain = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
                // Names of an image are not trusted.
                let font = stem.chars().all(is_plain).then(|| format!("{stem}.ttf"))?;
                Some((format!("{folder}/{name}"), font))
            });
            named.collect()
        };
        let new = of("/Windows/Boot/FONTS_EX", "_ex.ttf");
        if self.recipe.ca == Some(2023) && !new.is_empty() {
            return new;
        }
        of("/Windows/Boot/Fonts", ".ttf")
    }

    /// Takes the boot manager's fonts, and its list of what is trusted.
    pub(super) fn put_fonts(&mut self) -> Result<()> {
        for (from, name) in self.fonts() {
            self.put(&format!("Boot/Fonts/{name}"), &from, Kind::Font)?;
        }
        let folders: &[&str] = match self.recipe.ca {
            Some(2023) => &["EFI_EX", "EFI"],
            _ => &["EFI"],
        };
        let lists = folders
            .iter()
            .map(|of| format!("/Windows/Boot/{of}/boot.stl"));
        if let Some(list) = lists
            .into_iter()
            .find(|path| self.image.find(path).is_some())
        {
            self.put("Boot/boot.stl", &list, Kind::OtherLoader)?;
        }
        Ok(())
    }

    /// Puts drivers and other files into the image.
    pub(super) fn put_additions(&mut self) -> Result<()> {
        let additions = &self.recipe.additions;
        if additions.is_empty() {
            return Ok(());
        }
        self.work.step("adding files to the image", None)?;
        let mut start = None;
        if additions.changes_start() {
            let before = self.image.find(STARTNET);
            let before = before.map(|path| self.image.read(path)).transpose()?;
            let mut file =
                tempfile::NamedTempFile::new().context("no temporary file can be made")?;
            file.write_all(&additions.start(before))?;
            start = Some(file);
            if let Some(setup) = ["/setup.exe", "/sources/setup.exe"]
                .iter()
                .find_map(|of| self.image.find(of))
            {
                self.notes.push(format!(
                    "image {} starts Windows' setup ({setup}), not startnet.cmd, so it loads no drivers; \
                     --index names another image",
                    self.index
                ));
            }
        }
        let commands = additions.commands(start.as_ref().map(tempfile::NamedTempFile::path));
        self.image.update(&commands)
    }

    /// Takes the image from another WinPE that has the same.
    pub(super) fn share(&mut self) -> Result<()> {
        self.work.step("looking for the same image", None)?;
        let path = self.folder.join(IMAGE);
        if let Some(other) =
            share::with_another(&path, &self.rules.tftp_root.join(FOLDER), self.work)?
        {
            self.notes
                .push(format!("the image is shared with {}", other.display()));
        }
        Ok(())
    }

    /// Copies a file of the image to this path below the folder, and returns its bytes.
    fn put(&self, path: &str, from: &str, kind: Kind) -> Result<Vec<u8>> {
        self.work.go_on()?;
        let bytes = self.image.read(from)?;
        if let Err(problem) = kind.judge(&bytes) {
            bail!("{from} of the image: {problem}");
        }
        self.write(path, &bytes)?;
        Ok(bytes)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(path.replace('\\', "/"));
        let folder = path.parent().unwrap_or(self.folder);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, bytes))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn copy(part: &Part, to: &Path, most: u64, work: &Work) -> Result<()> {
    let mut file =
        File::create_new(to).with_context(|| format!("cannot write {}", to.display()))?;
    part.copy(&mut file, most, work)
}
