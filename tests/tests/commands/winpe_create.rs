//! `proxydhcp winpe create` makes a WinPE that clients boot, from media as Windows has them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use proxydhcp_lab::medium::{ARM64, Medium, run};
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{CLIENT_ADDRESS, Ended, binary};

use crate::bcd_write;
use serde_json::Value;

use crate::winpe_place::Place;

/// All files below a folder, with their modes.
fn files(folder: &Path) -> Result<Vec<(String, u32)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = entry.metadata()?;
        files.push((name.clone(), metadata.mode() & 0o7777));
        if metadata.is_dir() {
            let inside = self::files(&entry.path())?.into_iter();
            files.extend(inside.map(|(file, mode)| (format!("{name}/{file}"), mode)));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Each BCD names the files of this WinPE, and the loader for its firmware.
fn its_bcds_are_right(place: &Place, name: &str) -> Result<()> {
    for (file, end) in [("BCD", "exe"), ("BCD-uefi", "efi")] {
        let bcd = place.winboot(name).join("Boot").join(file);
        let mut show = Command::new(binary()?);
        let shown: Ended = show
            .args(["winpe", "bcd", "show"])
            .arg(bcd)
            .output()?
            .into();
        for line in [
            format!("path                   \\Windows\\System32\\Boot\\winload.{end}"),
            format!("fontpath               \\winboot\\{name}\\Boot\\Fonts"),
            format!("ramdisksdipath         \\winboot\\{name}\\Boot\\boot.sdi"),
            "ramdisktftpblocksize   1456".to_owned(),
            "ramdisktftpwindowsize  16".to_owned(),
        ] {
            assert!(shown.stdout.contains(&line), "{line}: {shown:?}");
        }
    }
    Ok(())
}

#[test]
fn each_kind_of_medium_makes_the_same_winpe() -> Result<()> {
    let place = Place::new()?;
    let medium = Medium::new(&place.media())?;
    let wim = medium.path("sources/boot.wim");
    let adk = place.media().join("adk");
    fs::create_dir_all(adk.join("Media/Boot"))?;
    fs::create_dir_all(adk.join("en-us"))?;
    fs::copy(&wim, adk.join("en-us/WinPE.wim"))?;
    fs::copy(
        medium.path("boot/boot.sdi"),
        adk.join("Media/Boot/boot.sdi"),
    )?;
    let media = [
        ("udf", medium.udf()?),
        ("joliet", medium.joliet()?),
        ("folder", medium.path("")),
        ("adk", adk),
        ("wim", wim.clone()),
    ];
    let modes = [
        ("Boot", 0o755),
        ("Boot/BCD", 0o644),
        ("Boot/BCD-uefi", 0o644),
        ("Boot/Fonts", 0o755),
        ("Boot/Fonts/segmono_boot.ttf", 0o644),
        ("Boot/Fonts/wgl4_boot.ttf", 0o644),
        ("Boot/WinPE_64.wim", 0o644),
        ("Boot/boot.sdi", 0o644),
        ("Boot/boot.stl", 0o644),
        ("Boot/bootmgfw.efi", 0o644),
        ("Boot/pxeboot.0", 0o644),
        ("bootmgr.exe", 0o644),
    ];
    for (name, from) in &media {
        let ended = place.created(name, from, &[])?;
        assert!(ended.stdout.contains(": made of image 2 of "), "{ended:?}");
        let check: Ended = place.command(&["check", name])?.output()?.into();
        assert_eq!(check.code, Some(0), "{name}: {check:?}");
        assert_eq!(
            files(&place.winboot(name))?,
            modes.map(|(file, mode)| (file.to_owned(), mode)),
            "{name}"
        );
        let same = [
            ("Boot/WinPE_64.wim", wim.clone()),
            ("Boot/boot.sdi", medium.path("boot/boot.sdi")),
            (
                "Boot/pxeboot.0",
                medium.tree("Windows/Boot/PXE/pxeboot.n12"),
            ),
            (
                "Boot/bootmgfw.efi",
                medium.tree("Windows/Boot/EFI/bootmgfw.efi"),
            ),
            ("Boot/boot.stl", medium.tree("Windows/Boot/EFI/boot.stl")),
            ("bootmgr.exe", medium.tree("Windows/Boot/PXE/bootmgr.exe")),
            (
                "Boot/Fonts/wgl4_boot.ttf",
                medium.tree("Windows/Boot/Fonts/wgl4_boot.ttf"),
            ),
        ];
        for (file, from) in same {
            let equal = fs::read(place.winboot(name).join(file))? == fs::read(from)?;
            assert!(equal, "{name}: {file}");
        }
        its_bcds_are_right(&place, name)?;
    }
    let bootmgr = fs::read(place.root().join("bootmgr.exe"))?;
    assert!(bootmgr == fs::read(medium.tree("Windows/Boot/PXE/bootmgr.exe"))?);
    // The image is on the disk once: the others are links to it, or have its blocks.
    let ended = place.created("last", &wim, &[])?;
    assert!(
        ended.stderr.contains("the image is shared with /"),
        "{ended:?}"
    );
    let image = |name: &str| place.winboot(name).join("Boot/WinPE_64.wim");
    let inodes =
        [image("udf"), image("last")].map(|file| fs::metadata(file).map(|file| file.ino()));
    let [udf, last] = inodes;
    let mut copy = Command::new("cp");
    copy.arg("--reflink=always").arg(image("udf"));
    let is_clone = copy
        .arg(place.media().join("clone"))
        .output()?
        .status
        .success();
    assert!(udf? == last? || is_clone);
    Ok(())
}

#[test]
fn clients_fetch_all_of_it_by_tftp() -> Result<()> {
    let place = Place::new()?;
    let medium = Medium::new(&place.media())?;
    place.created("p", &medium.udf()?, &["--tftp-window-size", "8"])?;
    let files = Files::usual()?;
    files.write_config(&[("probe", "winboot/p/")])?;
    files.write_hosts(&[(&CLIENT_ADDRESS.to_string(), "probe")])?;
    let root = place.root().display().to_string();
    let site = Site::start(Datapath::Generic, files, &["--tftp", "--tftp-root", &root])?;
    for (arch, first) in [
        (
            "bios",
            &[
                "winboot/p/Boot/pxeboot.0",
                "bootmgr.exe",
                r"\winboot\p\Boot\BCD",
            ][..],
        ),
        (
            "uefi",
            &["winboot/p/Boot/bootmgfw.efi", r"\winboot\p\Boot\BCD-uefi"][..],
        ),
    ] {
        let mut command = Command::new(binary()?);
        command.args(["probe", "10.77.0.1", "--follow", "--json", "--arch", arch]);
        let ended: Ended = site.lab.client.output(command)?.into();
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{ended:?}"
        );
        let reply: Value = serde_json::from_str(&ended.stdout)?;
        let fetched = reply["files"].as_array().context("no files")?;
        let names: Vec<_> = fetched
            .iter()
            .filter_map(|file| file["file"].as_str())
            .collect();
        let rest = [
            r"\winboot\p\Boot\Fonts\wgl4_boot.ttf",
            r"\winboot\p\Boot\boot.sdi",
            r"\winboot\p\Boot\WinPE_64.wim",
        ];
        assert_eq!(names, [first, &rest].concat());
    }
    Ok(())
}

#[test]
fn the_loader_is_that_of_the_ca_asked_for() -> Result<()> {
    let place = Place::new()?;
    let medium = Medium::new(&place.media())?;
    let wim = medium.path("sources/boot.wim");
    let told = |name: &str, ca: &str| -> Result<String> {
        Ok(place.created(name, &wim, &["--ca", ca])?.stdout)
    };
    let old = told("old", "2011")?;
    assert!(old.contains("trusts the CA of 2011, not where"), "{old}");
    let new = told("new", "2023")?;
    assert!(
        new.contains("only on firmware that trusts the CA of 2023"),
        "{new}"
    );
    for (name, ca, stl) in [
        ("old", "2011", "list of 2011"),
        ("new", "2023", "list of 2023"),
    ] {
        assert_eq!(
            fs::read_to_string(place.winboot(name).join("Boot/boot.stl"))?,
            stl
        );
        let font = fs::read(place.winboot(name).join("Boot/Fonts/wgl4_boot.ttf"))?;
        assert!(font.starts_with(ca.as_bytes()));
        let efi = fs::read(place.winboot(name).join("Boot/bootmgfw.efi"))?;
        assert!(efi == fs::read(place.media().join(format!("{ca}.efi")))?);
    }
    // What is in the image is seen by the check, too.
    let check =
        |name: &str| -> Result<Ended> { Ok(place.command(&["check", name])?.output()?.into()) };
    let note = "has a loader that the CA of 2023 has signed (EFI_EX)";
    assert!(check("old")?.stdout.contains(note));
    assert!(!check("new")?.stdout.contains("EFI_EX"));
    let mut write = bcd_write("uefi", "winboot/new/Boot/WinPE_64.wim")?;
    write.args(["--winload", r"\windows\system32\winload.efi"]);
    let written = write.arg(place.winboot("new/Boot/BCD-uefi")).status()?;
    assert!(written.success());
    let ended = check("new")?;
    assert_eq!(ended.code, Some(1));
    let missing = r"BCD-uefi: winboot/new/Boot/WinPE_64.wim has no \windows\system32\winload.efi, which it boots";
    assert!(ended.stdout.contains(missing), "{ended:?}");
    // An image without updates has none.
    let image = wim.display().to_string();
    let update = [
        "update",
        &image,
        "2",
        "--command=delete --recursive /Windows/Boot/EFI_EX",
    ];
    run("wimlib-imagex", &update, &place.media())?;
    let said = place.refused("none", &wim, &["--ca", "2023"])?;
    for part in [
        "no loader that the CA of 2023 has signed",
        "Windows/Boot/EFI_EX",
    ] {
        assert!(said.contains(part), "{said}");
    }
    Ok(())
}

#[test]
fn drivers_and_files_are_in_the_image_and_loaded_at_its_start() -> Result<()> {
    let place = Place::new()?;
    let medium = Medium::new(&place.media())?;
    let wim = medium.path("sources/boot.wim");
    let media = place.media();
    for (file, text) in [
        ("net's/e1d/E1D.INF", "e1d"),
        ("net's/e1d/e1d.sys", "sys"),
        ("disk/stor.inf", "stor"),
        ("tools/x y.exe", "x"),
    ] {
        let path = media.join(file);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(path, text)?;
    }
    let more = [
        "--index",
        "1",
        "--drivers",
        "net's",
        "--drivers",
        "disk",
        "--include",
        r"tools=X:\Tools",
        "--include",
        r"tools/x y.exe=\windows\system32\y.exe",
    ];
    let ended = place.created("a", &wim, &more)?;
    assert!(ended.stdout.contains("made of image 1 of "), "{ended:?}");
    for (path, text) in [
        ("/Drivers/1/e1d/E1D.INF", "e1d"),
        ("/Drivers/1/e1d/e1d.sys", "sys"),
        ("/Drivers/2/stor.inf", "stor"),
        ("/Tools/x y.exe", "x"),
        ("/Windows/System32/y.exe", "x"),
    ] {
        assert_eq!(place.in_image("a", path)?, text, "{path}");
    }
    let load = "for /r %SystemDrive%\\Drivers %%i in (*.inf) do drvload \"%%i\"\r\nwpeutil InitializeNetwork\r\n";
    let startnet = "/Windows/System32/startnet.cmd";
    assert_eq!(place.in_image("a", startnet)?, format!("wpeinit\r\n{load}"));
    // There is one folder of each name, as Windows needs it, and image 1 is booted.
    let image = place.winboot("a/Boot/WinPE_64.wim").display().to_string();
    let listed = run("wimlib-imagex", &["dir", &image, "1"], &media)?;
    let listed = String::from_utf8(listed)?.to_lowercase();
    let mut lines: Vec<_> = listed.lines().collect();
    let all = lines.len();
    lines.dedup();
    assert_eq!(
        (all, listed.matches("\n/windows/system32\n").count()),
        (lines.len(), 1)
    );
    let info = String::from_utf8(run("wimlib-imagex", &["info", &image], &media)?)?;
    assert!(info.contains("Boot Index:     1\n"), "{info}");
    run("wimlib-imagex", &["verify", &image], &media)?;

    // The medium is as it was, and its setup is told to load no drivers.
    let info = run(
        "wimlib-imagex",
        &["info", &wim.display().to_string()],
        &media,
    )?;
    assert!(String::from_utf8(info)?.contains("Boot Index:     2\n"));
    fs::write(media.join("start.cmd"), "wpeinit\nping -n 3 10.0.0.1\n")?;
    let more = ["--startnet", "start.cmd", "--drivers", "disk", "--replace"];
    let ended = place.created("a", &wim, &more)?;
    assert!(
        ended
            .stderr
            .contains("image 2 starts Windows' setup (/setup.exe)"),
        "{ended:?}"
    );
    let ended = place.created("b", &wim, &[&more[..], &["--index", "1"]].concat())?;
    assert!(!ended.stderr.contains("setup"), "{ended:?}");
    assert_eq!(
        place.in_image("b", startnet)?,
        format!("wpeinit\r\n{load}ping -n 3 10.0.0.1\r\n")
    );
    Ok(())
}

#[test]
fn one_for_arm64_has_no_loader_for_bios() -> Result<()> {
    let place = Place::new()?;
    let medium = Medium::of_machine(&place.media(), ARM64)?;
    let wim = medium.path("sources/boot.wim");
    let said = place.refused("x", &wim, &[])?;
    assert!(
        said.contains(
            "bootmgfw.efi of the image: a program for machine 0x8664, and clients need ARM64"
        ),
        "{said}"
    );
    // The same program, as if it were one for ARM64: its signature is where it was.
    let loader = medium.tree("Windows/Boot/EFI/bootmgfw.efi");
    let mut program = fs::read(&loader)?;
    let at = u32::from_le_bytes(program[0x3c..0x40].try_into()?) as usize + 4;
    program[at..at + 2].copy_from_slice(&0xaa64_u16.to_le_bytes());
    fs::write(&loader, program)?;
    let image = wim.display().to_string();
    let add = format!(
        "--command=add '{}' /Windows/Boot/EFI/bootmgfw.efi",
        loader.display()
    );
    run(
        "wimlib-imagex",
        &["update", &image, "2", &add],
        &place.media(),
    )?;
    let ended: Ended = place
        .create("a", &wim, &["--arch", "arm64"])?
        .output()?
        .into();
    // It is made, and no client is sent to its loader yet.
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("add `11 = \"Boot/bootmgfw.efi\"` to [loaders]"),
        "{ended:?}"
    );
    let folder = place.winboot("a");
    assert!(folder.join("Boot/bootmgfw.efi").is_file() && folder.join("Boot/BCD-uefi").is_file());
    assert!(!folder.join("Boot/pxeboot.0").exists() && !folder.join("Boot/BCD").exists());
    fs::write(
        place.root().with_file_name("proxydhcp.toml"),
        "[loaders]\n11 = \"Boot/bootmgfw.efi\"\n",
    )?;
    let ended = place.created("a", &wim, &["--replace"])?;
    assert!(ended.stdout.contains("trusts the CA of 2011"), "{ended:?}");
    Ok(())
}
