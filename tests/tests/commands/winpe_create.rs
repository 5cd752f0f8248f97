//! `proxydhcp winpe create` makes a WinPE that clients boot, from media as Windows has them and from
//! hostile ones.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use proxydhcp_lab::medium::{ARM64, Medium, run};
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{CLIENT_ADDRESS, Ended, binary};
use serde_json::Value;
use tempfile::TempDir;

/// A TFTP root, and a folder for media.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let place = Self {
            folder: TempDir::new()?,
        };
        fs::set_permissions(place.folder.path(), PermissionsExt::from_mode(0o755))?;
        fs::create_dir(place.root())?;
        fs::create_dir(place.media())?;
        fs::write(place.folder.path().join("proxydhcp.toml"), "")?;
        Ok(place)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("tftp")
    }

    pub(crate) fn media(&self) -> PathBuf {
        self.folder.path().join("media")
    }

    /// A path in `winboot/`.
    pub(crate) fn winboot(&self, path: &str) -> PathBuf {
        self.root().join("winboot").join(path)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.arg("winpe").args(arguments);
        command.arg("--tftp-root").arg(self.root());
        command.arg("--settings");
        command.arg(self.folder.path().join("proxydhcp.toml"));
        command.current_dir(self.media());
        Ok(command)
    }

    /// The command that makes a WinPE from a medium.
    pub(crate) fn create(&self, name: &str, from: &Path, more: &[&str]) -> Result<Command> {
        let mut command = self.command(&["create", name])?;
        command.arg("--from").arg(from).args(more);
        Ok(command)
    }

    pub(crate) fn created(&self, name: &str, from: &Path, more: &[&str]) -> Result<Ended> {
        let ended: Ended = self.create(name, from, more)?.output()?.into();
        ensure!(ended.code == Some(0), "{ended:?}");
        Ok(ended)
    }

    /// What the command says that makes none, and leaves nothing.
    fn refused(&self, name: &str, from: &Path, more: &[&str]) -> Result<String> {
        let before = self.names()?;
        let ended: Ended = self.create(name, from, more)?.output()?.into();
        ensure!(
            ended.code == Some(1) && ended.stdout.is_empty(),
            "{ended:?}"
        );
        let after = self.names()?;
        ensure!(after == before, "{after:?}");
        Ok(ended.stderr)
    }

    /// The names in `winboot/`, hidden ones, too.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(self.root().join("winboot")) else {
            return Ok(Vec::new());
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<_> = names.collect::<Result<_>>()?;
        names.sort_unstable();
        Ok(names)
    }

    /// A file of the first image of a WinPE.
    fn in_image(&self, name: &str, path: &str) -> Result<String> {
        let wim = self.winboot(name).join("Boot/WinPE_64.wim");
        let wim = wim.display().to_string();
        let arguments = ["extract", &wim, "1", path, "--to-stdout"];
        let bytes = run("wimlib-imagex", &arguments, &self.media())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

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
    let mut write = Command::new(binary()?);
    write.args([
        "winpe",
        "bcd",
        "write",
        "--firmware",
        "uefi",
        "--image",
        "winboot/new/Boot/WinPE_64.wim",
    ]);
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
fn what_cannot_be_made_is_refused_with_the_reason_and_leaves_nothing() -> Result<()> {
    let place = Place::new()?;
    let media = place.media();
    let medium = Medium::new(&media)?;
    let (wim, iso) = (medium.path("sources/boot.wim"), medium.udf()?);
    place.created("there", &wim, &[])?;
    for name in ["../x", ".x", "a/b", "a b", "", "-x", "a%b", "ä"] {
        let mut command = place.command(&["create"])?;
        command.arg("--from").arg(&wim).arg("--").arg(name);
        // What follows "--" are no options any more.
        let mut ordered = Command::new(binary()?);
        let options = command.get_args().filter(|argument| {
            !["--", "winpe", "create", name]
                .map(OsStr::new)
                .contains(argument)
        });
        ordered
            .args(["winpe", "create"])
            .args(options)
            .args(["--", name]);
        let ended: Ended = ordered.output()?.into();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("is no name for a WinPE"), "{ended:?}");
    }
    fs::create_dir_all(media.join("bad/a&b"))?;
    fs::create_dir_all(media.join("none"))?;
    fs::create_dir_all(media.join("links"))?;
    fs::write(media.join("bad/a&b/x.inf"), "")?;
    fs::write(media.join("links/x.inf"), "")?;
    symlink("/etc/passwd", media.join("links/passwd"))?;
    let cases: [(&[&str], &str); 8] = [
        (&["--index", "3"], "has no image 3"),
        (&["--arch", "arm64"], "image 2 is for x64; leave --arch out"),
        (&["--drivers", "bad"], "\"a&b\" has '&'"),
        (&["--drivers", "none"], "has no driver (*.inf)"),
        (&["--drivers", "links"], "links are not followed"),
        (&["--drivers", "nowhere"], "nowhere: No such file"),
        (&["--include", "nowhere=/x"], "nowhere: No such file"),
        (&["--startnet", "nowhere"], "nowhere: no such file"),
    ];
    for (more, why) in cases {
        let said = place.refused("x", &wim, more)?;
        assert!(said.contains(why), "{why}: {said}");
    }
    let said = place.refused("there", &wim, &[])?;
    assert!(
        said.contains("winboot/there/ exists; --replace replaces it"),
        "{said}"
    );
    for dst in ["../x", r"\a%b", "x^", r"\x\"] {
        let include = format!("{}={dst}", wim.display());
        let ended: Ended = place
            .create("x", &wim, &["--include", &include])?
            .output()?
            .into();
        assert_eq!(ended.code, Some(64), "{ended:?}");
    }

    // Media that are cut off, or something else.
    let whole = fs::read(&iso)?;
    for (name, bytes, why) in [
        ("half.iso", &whole[..whole.len() / 2], "7zz"),
        (
            "text.iso",
            b"not a disc".as_slice(),
            "neither a WIM nor the image of a disc",
        ),
        ("cut.wim", &fs::read(&wim)?[..200_000], "not a sound WIM"),
        (
            "noise.wim",
            b"MSWIM\0\0\0 and then no more".as_slice(),
            "not a sound WIM",
        ),
    ] {
        fs::write(media.join(name), bytes)?;
        fs::copy(medium.path("boot/boot.sdi"), media.join("boot.sdi"))?;
        let said = place.refused("x", &media.join(name), &[])?;
        assert!(said.contains(why), "{name}: {said}");
    }
    let said = place.refused("x", &media.join("none"), &[])?;
    assert!(said.contains("has none of sources/boot.wim"), "{said}");

    // A program that is not installed.
    for (from, package) in [(&iso, "7zip"), (&wim, "wimtools")] {
        let mut command = place.create("x", from, &[])?;
        let ended: Ended = command.env("PATH", "/nonexistent").output()?.into();
        let apt = format!("is not installed; Debian's package {package} has it");
        assert!(
            ended.code == Some(1) && ended.stderr.contains(&apt),
            "{ended:?}"
        );
    }
    assert_eq!(place.names()?, ["there"]);
    Ok(())
}

#[test]
fn links_on_a_medium_lead_nowhere() -> Result<()> {
    let place = Place::new()?;
    let media = place.media();
    let medium = Medium::new(&media)?;
    // What the links lead to is what would be taken.
    let elsewhere = media.join("elsewhere.wim");
    fs::rename(medium.path("sources/boot.wim"), &elsewhere)?;
    symlink(&elsewhere, medium.path("sources/boot.wim"))?;
    place.refused("x", &medium.path(""), &[])?;
    for (name, arguments) in [("rock.iso", &["-R"][..]), ("udf.iso", &["-R", "-udf"][..])] {
        let iso = medium.iso(name, arguments)?;
        place.refused("x", &iso, &[])?;
    }
    fs::remove_file(medium.path("sources/boot.wim"))?;
    // A link in the image, to a file of this host.
    let secret = media.join("secret");
    fs::write(&secret, "secret")?;
    fs::remove_file(medium.tree("Windows/Boot/EFI/boot.stl"))?;
    symlink(&secret, medium.tree("Windows/Boot/EFI/boot.stl"))?;
    let capture = [
        "capture",
        "tree",
        "medium/sources/boot.wim",
        "x",
        "--boot",
        "--image-property",
        "WINDOWS/ARCH=9",
    ];
    run("wimlib-imagex", &capture, &media)?;
    place.refused("x", &medium.path(""), &[])?;
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

/// A folder of programs that hang in the place of 7zz and wimlib-imagex.
fn hanging(place: &Place) -> Result<String> {
    let folder = place.media().join("hanging");
    fs::create_dir(&folder)?;
    let seven_zip =
        "#!/bin/sh\nif [ \"$1\" = l ]; then PATH=/usr/bin exec 7zz \"$@\"; fi\nexec sleep 1000\n";
    fs::write(folder.join("7zz"), seven_zip)?;
    fs::set_permissions(folder.join("7zz"), PermissionsExt::from_mode(0o755))?;
    Ok(format!("{}:/usr/bin:/bin", folder.display()))
}

#[test]
fn ctrl_c_and_sigterm_leave_nothing() -> Result<()> {
    let place = Place::new()?;
    let medium = Medium::new(&place.media())?;
    let iso = medium.udf()?;
    let path = hanging(&place)?;
    place.created("there", &iso, &[])?;
    let before = fs::metadata(place.winboot("there"))?.ino();
    for (signal, to_all, name) in [
        // As a terminal sends it, to all programs.
        (Signal::SIGINT, true, "new"),
        (Signal::SIGTERM, false, "new"),
        (Signal::SIGHUP, false, "there"),
    ] {
        let mut command = place.create(name, &iso, &["--replace"])?;
        command.env("PATH", &path).process_group(0);
        let child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let image = place.winboot(&format!(".{name}.new/Boot/WinPE_64.wim"));
        let patience = Instant::now() + Duration::from_secs(60);
        while !image.exists() {
            ensure!(Instant::now() < patience, "it does not begin");
            thread::sleep(Duration::from_millis(5));
        }
        if to_all {
            killpg(pid, signal)?;
        } else {
            kill(pid, signal)?;
        }
        let ended: Ended = child.wait_with_output()?.into();
        assert_eq!(ended.code, Some(1), "{signal}: {ended:?}");
        assert!(
            ended
                .stderr
                .ends_with("proxydhcp: interrupted; nothing was changed\n"),
            "{ended:?}"
        );
        assert_eq!(place.names()?, ["there"], "{signal}");
        assert_eq!(fs::metadata(place.winboot("there"))?.ino(), before);
    }
    Ok(())
}
