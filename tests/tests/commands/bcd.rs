//! `proxydhcp winpe bcd`: it reads what other writers of registry hives write, and refuses what is none.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{Ended, binary};
use serde_json::Value;

pub(crate) const LOADER: &str = "{7619dcc9-fafe-11d9-b411-000476eba25f}";

fn bcd(args: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    Ok(command.args(["winpe", "bcd"]).args(args).output()?.into())
}

pub(crate) fn written(file: &Path, firmware: &str, image: &str) -> Result<()> {
    let file = file.display().to_string();
    let ended = bcd(&["write", &file, "--firmware", firmware, "--image", image])?;
    ensure!(ended.code == Some(0), "{}", ended.stderr);
    Ok(())
}

/// The output of a program that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {stderr}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Changes the hive at its first argument with hivex, which writes other lists than this program does.
const CHANGE: &str = r#"
import sys, hivex
h = hivex.Hivex(sys.argv[1], write=True)
objects = h.node_get_child(h.root(), "Objects")
guid = "{7619dcc9-fafe-11d9-b411-000476eba25f}"
elements = h.node_get_child(h.node_get_child(objects, guid), "Elements")
def put(number, kind, data):
    node = h.node_get_child(elements, number) or h.node_add_child(elements, number)
    h.node_set_value(node, {"key": "Element", "t": kind, "value": data})
put("12000004", 1, "Rettung für Knoten\0".encode("utf-16-le"))
put("25000061", 3, b"\x04")
put("26000010", 3, b"\x00")
put("2900abcd", 3, b"\xde\xad")
for number in range(0x300):
    h.node_add_child(h.node_add_child(objects, "{%08x-0000-0000-0000-000000000000}" % number), "Elements")
h.commit(None)
"#;

#[test]
fn what_hivex_has_written_is_shown() -> Result<()> {
    ensure_installed(
        "/usr/lib/python3/dist-packages/hivex/__init__.py",
        "python3-hivex",
    )?;
    let files = Files::new()?;
    let file = files.path("BCD");
    written(&file, "bios", "winboot/a/Boot/WinPE_64.wim")?;
    output(
        Command::new("/usr/bin/python3")
            .args(["-c", CHANGE])
            .arg(&file),
    )?;
    let file = file.display().to_string();
    let shown = bcd(&["show", &file])?;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    for line in [
        "Windows boot loader {default} {7619dcc9-fafe-11d9-b411-000476eba25f}",
        "  device                 ramdisk of \\winboot\\a\\Boot\\WinPE_64.wim on the boot device, with {ramdiskoptions} {7619dcc8-fafe-11d9-b411-000476eba25f}",
        "  path                   \\windows\\system32\\boot\\winload.exe",
        "  description            Rettung für Knoten",
        "  numproc                4",
        "  detecthal              no",
        "  2900abcd               dead",
        "  ramdisktftpblocksize   1456",
        "  timeout                30",
    ] {
        assert!(
            shown.stdout.lines().any(|shown| shown == line),
            "{line}\n{}",
            shown.stdout
        );
    }
    let json: Value = serde_json::from_str(&bcd(&["show", &file, "--json"])?.stdout)?;
    let objects = json.as_array().context("a list")?;
    assert_eq!(objects.len(), 3 + 0x300);
    let loader = objects.iter().find(|object| object["id"] == LOADER);
    let elements = loader.context("no loader")?["elements"].as_array();
    let device = elements
        .context("a list")?
        .iter()
        .find(|element| element["name"] == "device");
    assert_eq!(
        device.context("no device")?["value"]["path"],
        "\\winboot\\a\\Boot\\WinPE_64.wim"
    );
    Ok(())
}

#[test]
fn what_is_no_bcd_is_refused_with_the_reason() -> Result<()> {
    let files = Files::new()?;
    let file = files.path("BCD");
    written(&file, "bios", "winboot/a/Boot/WinPE_64.wim")?;
    let sound = fs::read(&file)?;
    let noise: Vec<u8> = (0_u64..10 << 20)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    let mut damaged = sound.clone();
    damaged[4096 + 32..].copy_from_slice(&noise[..sound.len() - 4096 - 32]);
    let mut header = sound.clone();
    header[20] = 9;
    for (bytes, why) in [
        (
            &noise[..],
            "not a BCD (a registry hive): it does not begin with regf",
        ),
        (
            &sound[..5000],
            "truncated: it has 5000 bytes, and its header says 12288",
        ),
        (&damaged, "damaged: at byte "),
        (&header, "damaged: the checksum of its header is wrong"),
        (b"", "not a BCD"),
    ] {
        fs::write(&file, bytes)?;
        let shown = bcd(&["show", &file.display().to_string()])?;
        assert_eq!((shown.code, shown.stdout.as_str()), (Some(1), ""), "{why}");
        let expected = format!("proxydhcp: {}: {why}", file.display());
        assert!(shown.stderr.starts_with(&expected), "{}", shown.stderr);
    }
    let args = [
        "--firmware",
        "bios",
        "--image",
        "x.wim",
        "--winload",
        "winload.efi",
    ];
    let file = files.path("other").display().to_string();
    let refused = bcd(&[&["write", &file], &args[..]].concat())?;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .stderr
            .contains("winload.efi is not a loader for BIOS"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[test]
fn the_bcd_is_chosen_by_firmware() -> Result<()> {
    let files = Files::new()?;
    files.write_config(&[("n1", "winboot/a"), ("n2", "")])?;
    files.write_hosts(&[("10.0.0.1", "n1"), ("10.0.0.2", "n2")])?;
    let root = files.path("tftp");
    fs::create_dir_all(root.join("winboot/a/Boot"))?;
    let looked = |node: &str, architecture: &str| -> Result<Value> {
        let mut command = Command::new(binary()?);
        command.args(["lookup", node, "--arch", architecture, "--json"]);
        command.args(["--config", "proxydhcp.cfg", "--hosts", "hosts"]);
        command
            .args(["--settings", "proxydhcp.toml", "--tftp-root"])
            .arg(&root);
        let ended: Ended = command.current_dir(files.path("")).output()?.into();
        let json: Value = serde_json::from_str(&ended.stdout).with_context(|| ended.stderr)?;
        Ok(json[0]["bcd"].clone())
    };
    files.write_settings("")?;
    assert_eq!(looked("n1", "bios")?, "winboot/a/Boot/BCD");
    assert_eq!(looked("n1", "uefi")?, "winboot/a/Boot/BCD");
    fs::write(root.join("winboot/a/Boot/BCD-uefi"), "")?;
    assert_eq!(looked("n1", "bios")?, "winboot/a/Boot/BCD");
    assert_eq!(looked("n1", "uefi")?, "winboot/a/Boot/BCD-uefi");
    assert_eq!(looked("n2", "uefi")?, "Boot/BCD");
    files.write_settings("[bcd]\n7 = \"Boot/x/BCD\"\n0 = \"Boot/bios\"\n")?;
    assert_eq!(looked("n1", "bios")?, "winboot/a/Boot/bios");
    assert_eq!(looked("n1", "7")?, "winboot/a/Boot/x/BCD");
    assert_eq!(looked("n1", "9")?, "winboot/a/Boot/BCD-uefi");
    Ok(())
}
