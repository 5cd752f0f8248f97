//! `proxydhcp winpe create` refuses bad and hostile media and names, and leaves nothing where it ends
//! early.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use proxydhcp_lab::medium::{Medium, run};
use proxydhcp_lab::{Ended, binary};

use crate::winpe_place::Place;

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
        let patience = Instant::now() + Duration::from_mins(1);
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
