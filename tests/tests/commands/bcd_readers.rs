//! Other readers of registry hives read each value of a BCD as it is meant, whatever the length of its
//! paths.
//!
//! A value is a line here: the path of its key, its name, its type and its bytes.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::debian::ensure_installed;
use tempfile::TempDir;

use crate::bcd::{LOADER, output, written};

/// The lengths of paths, without the backslash at the start.
const LENGTHS: std::ops::RangeInclusive<usize> = 1..=200;
const FIRMWARE: [&str; 2] = ["bios", "uefi"];

/// Prints the values of hives, each hive below a line with its name. Keys must be sorted, and found by
/// their names.
const PYTHON: &str = r##"
import sys, hivex
for file in sys.argv[1:]:
    print("#", file)
    h = hivex.Hivex(file)
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
"##;

/// What hivexregedit does with one hive, for several.
const PERL: &str = r##"
use Win::Hivex;
use Win::Hivex::Regedit qw(reg_export);
for (@ARGV) { print "# $_\n"; reg_export(Win::Hivex->open($_), "\\", *STDOUT); }
"##;

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

/// BCDs whose image has a path of each length.
struct Written {
    folder: TempDir,
    /// Their files, and the values that each must have.
    hives: Vec<(PathBuf, Vec<String>)>,
}

impl Written {
    fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let mut hives = Vec::new();
        for length in LENGTHS {
            let image = image(length);
            for firmware in FIRMWARE {
                let file = folder.path().join(format!("{firmware}-{length}"));
                written(&file, firmware, &image)?;
                hives.push((file, values(firmware, &image)));
            }
        }
        Ok(Self { folder, hives })
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        self.hives.iter().map(|(file, _)| file.as_path())
    }

    /// `shown` has, below a line for each hive, those of its values.
    fn are(&self, shown: &str) {
        let mut shown = shown.split("# ").skip(1);
        for (file, values) in &self.hives {
            let mut lines: Vec<_> = shown.next().unwrap_or_default().lines().collect();
            assert_eq!(lines.first(), Some(&&*file.display().to_string()));
            lines.remove(0);
            lines.sort_unstable();
            assert_eq!(&lines, values, "{}", file.display());
        }
        assert_eq!(shown.next(), None);
    }
}

/// A path of components that file systems and TFTP servers take.
fn image(length: usize) -> String {
    let mut image = "\\".to_owned();
    image.extend("abcdefgh\\".chars().cycle().take(length));
    if image.ends_with('\\') {
        image.pop();
        image.push('x');
    }
    image
}

/// A value as hivexregedit and hivexsh write it, by the name of its key.
fn line(key: &str, value: &str) -> Result<String> {
    let parts = value.split_once('=');
    let (name, value) = parts.with_context(|| format!("{value:?} is no value"))?;
    let (kind, hex) = if let Some(text) = value.strip_prefix('"') {
        let text = text.strip_suffix('"').context("no end of a text")?;
        (1, utf16(&text.replace(r"\\", r"\")) + "0000")
    } else if let Some(number) = value.strip_prefix("dword:") {
        let number = u32::from_str_radix(number, 16)?.swap_bytes();
        (4, format!("{number:08x}"))
    } else {
        let bytes = value.strip_prefix("hex(");
        let parts = bytes.and_then(|value| value.split_once("):"));
        let (kind, bytes) = parts.with_context(|| format!("{value:?} is of no type"))?;
        (kind.parse()?, bytes.replace(',', ""))
    };
    Ok(format!("{key}|{}|{kind}|{hex}", name.trim_matches('"')))
}

#[test]
fn python_reads_each_value() -> Result<()> {
    ensure_installed(
        "/usr/lib/python3/dist-packages/hivex/__init__.py",
        "python3-hivex",
    )?;
    let written = Written::new()?;
    let mut python = Command::new("/usr/bin/python3");
    written.are(&output(python.args(["-c", PYTHON]).args(written.files()))?);
    Ok(())
}

#[test]
fn hivexregedit_reads_each_value() -> Result<()> {
    ensure_installed("hivexregedit", "libwin-hivex-perl")?;
    let written = Written::new()?;
    let mut perl = Command::new("/usr/bin/perl");
    let exported = output(perl.args(["-e", PERL]).args(written.files()))?;
    let (mut shown, mut key) = (String::new(), "");
    for text in exported.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = text.strip_prefix('[') {
            key = name.trim_end_matches(']');
        } else if text.starts_with('#') {
            writeln!(shown, "{text}")?;
        } else {
            writeln!(shown, "{}", line(key, text)?)?;
        }
    }
    written.are(&shown);
    // The program itself does the same.
    let last = written.files().last().context("no hive")?;
    let mut regedit = Command::new("hivexregedit");
    let export = output(regedit.arg("--export").arg(last).arg("\\"))?;
    let (_, keys) = export.split_once("\n\n").context("no keys")?;
    ensure!(exported.ends_with(keys), "{export}");
    Ok(())
}

#[test]
fn hivexsh_reads_each_value() -> Result<()> {
    ensure_installed("hivexsh", "libhivex-bin")?;
    let written = Written::new()?;
    let key = |value: &str| value.split('|').next().unwrap_or_default().to_owned();
    let mut script = String::new();
    for (file, values) in &written.hives {
        writeln!(script, "load {}", file.display())?;
        for value in values {
            writeln!(script, "cd {}\nlsval", key(value))?;
        }
    }
    let file = written.folder.path().join("script");
    fs::write(&file, script)?;
    let printed = output(Command::new("hivexsh").arg("-f").arg(file))?;
    let mut printed = printed.lines();
    let mut shown = String::new();
    for (file, values) in &written.hives {
        writeln!(shown, "# {}", file.display())?;
        for value in values {
            let text = printed.next().context("a value is missing")?;
            writeln!(shown, "{}", line(&key(value), text)?)?;
        }
    }
    assert_eq!(printed.next(), None);
    written.are(&shown);
    Ok(())
}

#[test]
fn it_is_the_same_each_time() -> Result<()> {
    let folder = TempDir::new()?;
    let bytes = ["one", "two"].map(|name| {
        let file = folder.path().join(name);
        written(&file, "uefi", "winboot/a/Boot/WinPE_64.wim")?;
        anyhow::Ok(fs::read(file)?)
    });
    let [one, two] = bytes;
    assert_eq!(one?, two?);
    Ok(())
}
