//! `proxydhcp winpe bcd`: other readers of registry hives read what it writes, and it reads what other
//! writers write.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{Ended, binary};
use serde_json::Value;

const LOADER: &str = "{7619dcc9-fafe-11d9-b411-000476eba25f}";

/// Prints each value of a hive: the path of its key, its name, its type and its bytes.
const WITH_HIVEX: &str = r#"
import sys, hivex
h = hivex.Hivex(sys.argv[1])
def walk(node, path):
    for value in h.node_values(node):
        kind, data = h.value_value(value)
        print(path, h.value_key(value), kind, data.hex(), sep="|")
    names = [h.node_name(child) for child in h.node_children(node)]
    assert names == sorted(names), names
    for child in h.node_children(node):
        assert h.node_get_child(node, h.node_name(child)) == child
        walk(child, path + "\\" + h.node_name(child))
walk(h.root(), "")
"#;

fn bcd(args: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    Ok(command.args(["winpe", "bcd"]).args(args).output()?.into())
}

fn written(file: &Path, firmware: &str, image: &str) -> Result<()> {
    let file = file.display().to_string();
    let ended = bcd(&["write", &file, "--firmware", firmware, "--image", image])?;
    ensure!(ended.code == Some(0), "{}", ended.stderr);
    Ok(())
}

fn utf16(text: &str) -> String {
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    units.fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The values of a network boot's BCD, as [`WITH_HIVEX`] prints them.
fn values(firmware: &str, image: &str) -> Vec<String> {
    let options = "{7619dcc8-fafe-11d9-b411-000476eba25f}";
    let manager = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}";
    let text = |text: &str| format!("1|{}0000", utf16(text));
    let bytes = |hex: &str| format!("3|{hex}");
    let word = |number: usize| {
        let bytes = u32::try_from(number).unwrap_or(0).to_le_bytes();
        bytes.map(|byte| format!("{byte:02x}")).concat()
    };
    let zeros = |count: usize| "00".repeat(count);
    let boot = format!("{}{}{}{}", word(5), word(0), word(0x48), zeros(60));
    let len = 2 * (image.len() + 1);
    let ramdisk = [
        "c8dc1976fefad911b411000476eba25f".to_owned(),
        [0, 1, 124 + len, 0, 3].map(word).concat(),
        zeros(20),
        [1, 84 + len, 5].map(word).concat(),
        boot.clone(),
        format!("{}0000", utf16(image)),
    ]
    .concat();
    let end = if firmware == "bios" { "exe" } else { "efi" };
    let folder = image.rsplit_once('\\').map_or("", |(folder, _)| folder);
    let mut elements = vec![
        (options, "31000003", bytes(&format!("{}{boot}", zeros(16)))),
        (options, "32000004", text(&format!("{folder}\\boot.sdi"))),
        (options, "35000007", bytes("b005000000000000")),
        (options, "35000008", bytes("1000000000000000")),
        (options, "3600000b", bytes("01")),
        (LOADER, "11000001", bytes(&ramdisk)),
        (
            LOADER,
            "12000002",
            text(&format!("\\windows\\system32\\boot\\winload.{end}")),
        ),
        (LOADER, "12000004", text("Windows PE")),
        (LOADER, "12000005", text("en-US")),
        (LOADER, "21000001", bytes(&ramdisk)),
        (LOADER, "22000002", text("\\windows")),
        (LOADER, "250000c2", bytes("0100000000000000")),
        (LOADER, "26000010", bytes("01")),
        (LOADER, "26000022", bytes("01")),
        (LOADER, "260000b0", bytes("00")),
        (manager, "12000004", text("Windows Boot Manager")),
        (manager, "12000005", text("en-US")),
        (manager, "23000003", text(LOADER)),
        (manager, "24000001", format!("7|{}00000000", utf16(LOADER))),
        (manager, "25000004", bytes("1e00000000000000")),
    ];
    if firmware == "uefi" {
        elements.push((LOADER, "16000060", bytes("01")));
    }
    let mut lines = vec![format!("\\Description|KeyName|{}", text("BCD00000001"))];
    let kinds = [
        (options, "00000030"),
        (LOADER, "03002010"),
        (manager, "02001010"),
    ];
    lines.extend(kinds.map(|(id, kind)| format!("\\Objects\\{id}\\Description|Type|4|{kind}")));
    let elements = elements.into_iter();
    lines.extend(
        elements.map(|(id, number, value)| {
            format!("\\Objects\\{id}\\Elements\\{number}|Element|{value}")
        }),
    );
    lines.sort_unstable();
    lines
}

/// The output of a program that must succeed.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {stderr}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn hivex_reads_each_value_whatever_the_length_of_the_path() -> Result<()> {
    ensure_installed(
        "/usr/lib/python3/dist-packages/hivex/__init__.py",
        "python3-hivex",
    )?;
    let files = Files::new()?;
    let file = files.path("BCD");
    for len in [1, 2, 7, 16, 17, 32, 63, 64, 65, 66, 127, 128, 199, 200] {
        for firmware in ["bios", "uefi"] {
            // Of components that file systems and TFTP servers take, and of the length asked for.
            let image: String = "\\"
                .chars()
                .chain("abcdefgh/".chars().cycle())
                .take(len + 1)
                .collect();
            let image = image.trim_end_matches('/').replace('/', "\\");
            written(&file, firmware, &image)?;
            let mut python = Command::new("/usr/bin/python3");
            let read = output(python.args(["-c", WITH_HIVEX]).arg(&file))?;
            let mut lines: Vec<_> = read.lines().collect();
            lines.sort_unstable();
            assert_eq!(
                lines,
                values(firmware, &image),
                "{firmware}, {len} characters"
            );
        }
    }
    Ok(())
}

#[test]
fn hivexregedit_and_hivexsh_read_it_and_it_is_the_same_each_time() -> Result<()> {
    ensure_installed("hivexsh", "libhivex-bin")?;
    ensure_installed("hivexregedit", "libwin-hivex-perl")?;
    let files = Files::new()?;
    let (file, again) = (files.path("BCD"), files.path("again"));
    let image = "winboot/a/Boot/WinPE_64.wim";
    written(&file, "uefi", image)?;
    written(&again, "uefi", image)?;
    assert_eq!(fs::read(&file)?, fs::read(&again)?);
    let mut regedit = Command::new("hivexregedit");
    let export = output(regedit.args(["--export"]).arg(&file).arg("\\"))?;
    assert!(
        export.contains(&format!(
            "[\\Objects\\{LOADER}\\Elements\\26000022]\n\"Element\"=hex(3):01"
        )),
        "{export}"
    );
    let script = files.path("script");
    fs::write(
        &script,
        format!("cd \\Objects\\{LOADER}\\Elements\\22000002\nlsval Element\n"),
    )?;
    let mut shell = Command::new("hivexsh");
    let shown = output(shell.arg("-f").arg(&script).arg(&file))?;
    assert_eq!(shown.trim(), "\\windows");
    Ok(())
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
