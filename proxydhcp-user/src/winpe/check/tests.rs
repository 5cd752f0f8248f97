use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::winpe::bcd::device::Device;
use crate::winpe::bcd::guid::Guid;
use crate::winpe::bcd::network::{DEVICE, FONT_PATH, Firmware, NetworkBoot};
use crate::winpe::bcd::{Bcd, Data, Element, with_backslashes};
use crate::winpe::loaders::{Change, Loaders};

mod activating;
mod machines;

/// A TFTP root with one sound WinPE, `winboot/a`.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(TempDir::new().unwrap());
        fs::set_permissions(tree.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
        tree.write("bootmgr.exe", b"MZ");
        tree.winpe("winboot/a/");
        tree
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn rules(&self) -> Rules<'_> {
        Rules::within(self.root())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root().join(file)
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn winpe(&self, folder: &str) {
        self.write(&format!("{folder}Boot/pxeboot.0"), b"\xfa\x31\xc0");
        self.write(
            &format!("{folder}Boot/bootmgfw.efi"),
            &program(0x20b, 0x8664, 10),
        );
        self.write(&format!("{folder}Boot/boot.sdi"), b"$SDI0001");
        self.write(&format!("{folder}Boot/WinPE_64.wim"), b"MSWIM\0\0\0");
        self.write(&format!("{folder}bootmgr.exe"), b"MZ");
        let image = format!("{folder}Boot/WinPE_64.wim");
        for (file, firmware) in [("BCD", Firmware::Bios), ("BCD-uefi", Firmware::Uefi)] {
            self.write(&format!("{folder}Boot/{file}"), &bcd(firmware, &image));
        }
    }

    /// The findings about `a`, one on each line.
    fn findings(&self) -> Vec<String> {
        let checked = check(&folder("a", self.rules()).unwrap(), self.rules());
        let line =
            |found: &Finding| format!("{}: {} | {}", found.file, found.problem, found.remedy);
        checked.findings.iter().map(line).collect()
    }

    /// Asserts that there is one finding, and that it contains all these texts.
    #[track_caller]
    fn finds(&self, texts: &[&str]) {
        let findings = self.findings();
        assert_eq!(findings.len(), 1, "{findings:#?}");
        for text in texts {
            assert!(findings[0].contains(text), "{text}: {findings:?}");
        }
    }
}

/// The headers of a PE file.
fn program(magic: u16, machine: u16, subsystem: u16) -> Vec<u8> {
    let optional: u16 = if magic == 0x20b { 240 } else { 224 };
    let mut bytes = vec![0; 0x80 + 24 + usize::from(optional)];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    bytes[0x94..0x96].copy_from_slice(&optional.to_le_bytes());
    bytes[0x98..0x9a].copy_from_slice(&magic.to_le_bytes());
    bytes[0xdc..0xde].copy_from_slice(&subsystem.to_le_bytes());
    bytes
}

/// The BCD of this image, with a `boot.sdi` beside it.
fn bcd(firmware: Firmware, image: &str) -> Vec<u8> {
    let image = Path::new(image);
    let boot = NetworkBoot {
        firmware,
        image: with_backslashes(image),
        sdi: with_backslashes(&image.with_file_name("boot.sdi")),
        winload: firmware.winload().to_owned(),
        fonts: None,
        locale: "en-US".to_owned(),
        block_size: 1456,
        window_size: 16,
    };
    boot.bcd().bytes()
}

#[test]
fn a_sound_winpe_has_no_finding() {
    let tree = Tree::new();
    assert_eq!(tree.findings(), [""; 0]);
    let checked = check(&folder("a", tree.rules()).unwrap(), tree.rules());
    assert_eq!(checked.path, "winboot/a/");
    assert_eq!(checked.images[0].file, "winboot/a/Boot/WinPE_64.wim");
    // The path works as well as the name.
    for name in ["winboot/a", &tree.path("winboot/a").display().to_string()] {
        let folder = folder(name, tree.rules()).unwrap();
        assert!(check(&folder, tree.rules()).findings.is_empty(), "{name}");
    }
    let error = folder("b", tree.rules()).unwrap_err().to_string();
    assert!(
        error.contains("winboot/b") && error.ends_with("these exist: a"),
        "{error}"
    );
}

#[test]
fn the_default_winpe_comes_first_if_it_has_a_loader() {
    let tree = Tree::new();
    let names = || -> Vec<String> {
        let folders = folders(tree.rules()).unwrap();
        folders.into_iter().map(|folder| folder.name).collect()
    };
    // This is what `activate` leaves.
    tree.write("Boot/BCD", b"regf");
    tree.write("winboot/.snapshot/x", b"");
    tree.write("winboot/notes.txt", b"");
    assert_eq!(names(), ["a"]);
    tree.winpe("");
    assert_eq!(names(), ["Boot", "a"]);
    let default = &folders(tree.rules()).unwrap()[0];
    assert!(check(default, tree.rules()).findings.is_empty());
    fs::rename(tree.path("Boot"), tree.path("boot")).unwrap();
    assert_eq!(names(), ["Boot", "a"]);
    let error = folders(Rules::within(Path::new("/nowhere")))
        .unwrap_err()
        .to_string();
    assert!(error.contains("--tftp-root"), "{error}");
}

#[test]
fn missing_files_are_named_with_where_they_come_from() {
    for (file, remedy) in [
        ("winboot/a/Boot/pxeboot.0", "pxeboot.n12"),
        (
            "winboot/a/Boot/bootmgfw.efi",
            "Windows/Boot/EFI/bootmgfw.efi",
        ),
        ("winboot/a/Boot/BCD", "make it again with"),
        ("winboot/a/Boot/boot.sdi", "`proxydhcp winpe create`"),
        ("winboot/a/Boot/WinPE_64.wim", "make the BCD again"),
    ] {
        let tree = Tree::new();
        fs::remove_file(tree.path(file)).unwrap();
        tree.finds(&[&format!("{file}: missing | "), remedy]);
    }
    let tree = Tree::new();
    fs::remove_file(tree.path("bootmgr.exe")).unwrap();
    let copy = format!(
        "cp {0}/winboot/a/bootmgr.exe {0}/bootmgr.exe",
        tree.root().display()
    );
    tree.finds(&["bootmgr.exe: missing", &copy]);
    fs::remove_file(tree.path("winboot/a/bootmgr.exe")).unwrap();
    tree.finds(&["bootmgr.exe: missing", "Windows/Boot/PXE/bootmgr.exe"]);
}

#[test]
fn wrong_letter_case_is_named_with_the_command_that_mends_it() {
    for (wrong, right) in [
        ("winboot/a/Boot/bcd", "winboot/a/Boot/BCD"),
        ("winboot/a/Boot/PXEBOOT.0", "winboot/a/Boot/pxeboot.0"),
        ("BOOTMGR.EXE", "bootmgr.exe"),
    ] {
        let tree = Tree::new();
        fs::rename(tree.path(right), tree.path(wrong)).unwrap();
        let (from, to) = (tree.path(wrong), tree.path(right));
        let remedy = format!("| mv {} {}", from.display(), to.display());
        tree.finds(&[&format!("{wrong}: wrong letter case"), &remedy]);
    }
    // A folder with the wrong case is one finding, however many files are in it.
    let tree = Tree::new();
    fs::rename(tree.path("winboot/a/Boot"), tree.path("winboot/a/boot")).unwrap();
    let findings = tree.findings();
    assert!(
        findings[0].starts_with("winboot/a/boot: wrong letter case"),
        "{findings:?}"
    );
    assert_eq!(
        findings
            .iter()
            .filter(|found| found.contains("case"))
            .count(),
        1
    );
}

#[test]
fn what_the_tftp_server_may_not_read_is_named() {
    let tree = Tree::new();
    let chmod = |file: &str, mode| {
        fs::set_permissions(tree.path(file), PermissionsExt::from_mode(mode)).unwrap();
    };
    chmod("winboot/a/Boot/BCD", 0o640);
    tree.finds(&["may not read it | chmod o+r /", "/winboot/a/Boot/BCD"]);
    chmod("winboot/a/Boot/BCD", 0o644);
    // The folder is on the way to each file, and is reported once.
    chmod("winboot/a", 0o700);
    tree.finds(&["winboot/a: ", "may not enter this folder | chmod o+x /"]);
    chmod("winboot/a", 0o711);
    assert_eq!(tree.findings(), [""; 0]);
    chmod("", 0o700);
    tree.finds(&["may not enter this folder | chmod o+x "]);
}

#[test]
fn what_a_file_is_not_is_named() {
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("Boot/pxeboot.0", vec![], "empty"),
        (
            "Boot/pxeboot.0",
            program(0x20b, 0x8664, 10),
            "not a boot program for BIOS",
        ),
        ("Boot/bootmgfw.efi", vec![], "empty"),
        (
            "Boot/bootmgfw.efi",
            b"\xfa\x31\xc0".to_vec(),
            "not an EFI program",
        ),
        ("Boot/bootmgfw.efi", b"MZ".to_vec(), "not an EFI program"),
        ("Boot/bootmgfw.efi", program(0x10b, 0x14c, 10), "32 bits"),
        (
            "Boot/bootmgfw.efi",
            program(0x20b, 0xaa64, 10),
            "machine 0xaa64",
        ),
        (
            "Boot/bootmgfw.efi",
            program(0x20b, 0x8664, 3),
            "subsystem is 3",
        ),
        ("Boot/boot.sdi", b"SDI".to_vec(), "$SDI"),
        ("Boot/WinPE_64.wim", b"<html>".to_vec(), "not a WIM image"),
        ("Boot/BCD", b"<html>".to_vec(), "not a BCD"),
        (
            "../../bootmgr.exe",
            b"\x7fELF".to_vec(),
            "not a Windows program",
        ),
    ];
    for (file, bytes, problem) in cases {
        let tree = Tree::new();
        tree.write(&format!("winboot/a/{file}"), &bytes);
        tree.finds(&[problem]);
    }
    let tree = Tree::new();
    fs::remove_file(tree.path("winboot/a/Boot/BCD")).unwrap();
    fs::create_dir(tree.path("winboot/a/Boot/BCD")).unwrap();
    tree.finds(&["a folder, not a file"]);
    fs::remove_dir(tree.path("winboot/a/Boot/BCD")).unwrap();
    symlink("nothing", tree.path("winboot/a/Boot/BCD")).unwrap();
    tree.finds(&["a symbolic link to nothing, which does not exist"]);
}

#[test]
fn the_bcd_says_which_image_there_must_be() {
    let tree = Tree::new();
    // A BCD made for another folder: clients would fetch from there.
    let (image, sdi) = ("winboot/b/Boot/WinPE_64.wim", "winboot/b/Boot/boot.sdi");
    tree.write("winboot/a/Boot/BCD", &bcd(Firmware::Bios, image));
    tree.write(sdi, b"$SDI0001");
    tree.finds(&["winboot/b/Boot/WinPE_64.wim: missing", "make the BCD again"]);
    tree.write(image, b"MSWIM\0\0\0");
    fs::remove_file(tree.path(sdi)).unwrap();
    tree.finds(&["winboot/b/Boot/boot.sdi: missing"]);
    // Nothing outside of the root is looked for.
    tree.write("winboot/a/Boot/BCD", &bcd(Firmware::Bios, "../../x/x.wim"));
    assert_eq!(tree.findings(), [""; 0]);
}

#[test]
fn a_bcd_that_boots_nothing_is_told() {
    let tree = Tree::new();
    let mut one = Bcd::parse(&bcd(Firmware::Bios, "winboot/a/Boot/WinPE_64.wim")).unwrap();
    let finds = |bcd: &Bcd, texts: &[&str]| {
        tree.write("winboot/a/Boot/BCD", &bcd.bytes());
        tree.finds(texts);
    };
    one.objects
        .retain(|object| object.id != Guid::RAMDISK_OPTIONS);
    finds(&one, &["it names no boot.sdi for its ramdisk"]);
    let loader = one
        .objects
        .iter_mut()
        .find(|object| object.id == Guid::LOADER);
    let elements = &mut loader.unwrap().elements;
    let device = elements.iter_mut().find(|element| element.number == DEVICE);
    device.unwrap().data = Data::Device(Device::Boot);
    finds(&one, &["it does not boot from a ramdisk, but from boot"]);
    one.objects.retain(|object| object.id != Guid::LOADER);
    let write = format!(
        "| proxydhcp winpe bcd write {}/winboot/a/Boot/BCD --firmware bios --image \
         winboot/a/Boot/WinPE_64.wim",
        tree.root().display()
    );
    finds(
        &one,
        &["it names no loader, so clients boot nothing", &write],
    );
}

#[test]
fn a_bcd_for_other_firmware_is_told() {
    let tree = Tree::new();
    let image = "winboot/a/Boot/WinPE_64.wim";
    // As Windows makes it: one BCD.
    fs::remove_file(tree.path("winboot/a/Boot/BCD-uefi")).unwrap();
    tree.finds(&[
        "winboot/a/Boot/BCD: UEFI clients read it, and it boots \\windows\\system32\\boot\\winload.exe",
        "winboot/a/Boot/BCD-uefi --firmware uefi --image winboot/a/Boot/WinPE_64.wim",
    ]);
    tree.write("winboot/a/Boot/BCD-uefi", &bcd(Firmware::Bios, image));
    tree.finds(&["winboot/a/Boot/BCD-uefi: UEFI clients read it"]);
    tree.write("winboot/a/Boot/BCD-uefi", &bcd(Firmware::Uefi, image));
    tree.write("winboot/a/Boot/BCD", &bcd(Firmware::Uefi, image));
    tree.finds(&[
        "winboot/a/Boot/BCD: BIOS clients read it",
        "winboot/a/Boot/BCD --firmware bios",
    ]);
    // Without a loader for BIOS, the BCD that BIOS clients read matters no more.
    fs::remove_file(tree.path("winboot/a/Boot/pxeboot.0")).unwrap();
    tree.finds(&["winboot/a/Boot/pxeboot.0: missing"]);
}

#[test]
fn the_loaders_of_the_settings_are_looked_for() {
    let tree = Tree::new();
    let change = |architecture, path| Change::parse(architecture, path).unwrap();
    let loaders = Loaders::with(&[
        change("0", ""),
        change("7", "efi/x64.efi"),
        change("11", "efi/arm.efi"),
    ]);
    let loaders = loaders.unwrap();
    tree.write("winboot/a/efi/arm.efi", &program(0x20b, 0xaa64, 10));
    fs::remove_file(tree.path("winboot/a/Boot/pxeboot.0")).unwrap();
    let rules = Rules {
        loaders: &loaders,
        ..tree.rules()
    };
    let checked = || check(&folder("a", rules).unwrap(), rules);
    let missing = &checked().findings;
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert_eq!(missing[0].file, "winboot/a/efi/x64.efi");
    tree.write("winboot/a/efi/x64.efi", &program(0x20b, 0x8664, 10));
    assert_eq!(checked().findings, []);
    tree.write("efi/arm.efi", b"x");
    assert_eq!(folders(rules).unwrap()[0].name, "Boot");

    // A longer loader leaves less room for the path.
    let long = Loaders::with(&[change("7", &"x".repeat(118))]).unwrap();
    let rules = Rules {
        loaders: &long,
        ..tree.rules()
    };
    let folder = folder("a", rules).unwrap();
    assert!(folder.winpe.is_err());
}

#[test]
fn a_folder_that_no_record_can_name_is_told() {
    let tree = Tree::new();
    let name = "x".repeat(120);
    fs::create_dir(tree.path("winboot").join(&name)).unwrap();
    let folders = folders(tree.rules()).unwrap();
    let checked = check(&folders[1], tree.rules());
    assert!(
        checked.findings[0].problem.contains("a reply holds 127"),
        "{checked:?}"
    );
}
