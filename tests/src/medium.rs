//! A stand-in for a medium of Windows: the folders and names of a real one, captured by wimlib, with
//! programs that Debian has and Microsoft has signed.
#![allow(
    clippy::missing_errors_doc,
    missing_docs,
    reason = "a test fails by what they say"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::debian::{ensure_installed, unpacked};

/// What Microsoft has signed for Debian, by its CAs of 2011 and of 2023.
const SHIM: &str = "usr/lib/shim/shimx64.efi.signed";
/// A network boot program for BIOS.
const NBP: &str = "usr/lib/ipxe/undionly.kpxe";
/// Windows' number for x64 (`PROCESSOR_ARCHITECTURE_AMD64`).
pub const AMD64: u32 = 9;
/// Windows' number for ARM64 (`PROCESSOR_ARCHITECTURE_ARM64`).
pub const ARM64: u32 = 12;

/// A medium in the folder `medium` of another, and what it was made from.
pub struct Medium {
    folder: PathBuf,
}

/// Runs a program that must succeed, and returns its output.
pub fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<Vec<u8>> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("WIMLIB_IMAGEX_IGNORE_CASE", "1")
        .stdin(Stdio::null())
        .output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {stderr}");
    Ok(output.stdout)
}

impl Medium {
    /// Makes one below `folder`. Image 1 is Windows PE, and image 2, which is booted, Windows' setup.
    pub fn new(folder: &Path) -> Result<Self> {
        Self::of_machine(folder, AMD64)
    }

    pub fn of_machine(folder: &Path, machine: u32) -> Result<Self> {
        Self::with(folder, machine, &[])
    }

    /// The same, with other files in its images, by their paths there.
    pub fn with(folder: &Path, machine: u32, others: &[(&str, &[u8])]) -> Result<Self> {
        ensure_installed("wimlib-imagex", "wimtools")?;
        ensure_installed("7zz", "7zip")?;
        ensure_installed("sbattach", "sbsigntool")?;
        // They stay there for the next run.
        let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debian");
        fs::create_dir_all(&packages)?;
        for (file, package, name) in [(SHIM, "shim-signed", "shim.efi"), (NBP, "ipxe", "nbp")] {
            let file = unpacked(file, package, &packages)?;
            fs::copy(file, folder.join(name))?;
        }
        let medium = Self {
            folder: folder.to_owned(),
        };
        // From the shim with both signatures, each alone.
        for (name, without) in [("2011.efi", "2"), ("2023.efi", "1")] {
            fs::copy(folder.join("shim.efi"), folder.join(name))?;
            let detach = [
                "--detach",
                "signature",
                "--signum",
                without,
                "--remove",
                name,
            ];
            run("sbattach", &detach, folder)?;
        }
        medium.write_tree()?;
        for (file, bytes) in others {
            fs::write(medium.tree(file), bytes)?;
        }
        fs::create_dir_all(medium.path("boot"))?;
        fs::create_dir_all(medium.path("sources"))?;
        fs::write(medium.path("boot/boot.sdi"), filled(b"$SDI0001", 3_170_304))?;
        fs::write(
            medium.path("README.TXT"),
            "This disc has a UDF file system.\n",
        )?;
        let property = format!("WINDOWS/ARCH={machine}");
        let wim = medium.path("sources/boot.wim").display().to_string();
        let capture = |task: &str, name: &str, more: &[&str]| {
            let usual = [task, "tree", &wim, name, "--image-property", &property];
            run("wimlib-imagex", &[&usual[..], more].concat(), folder)
        };
        capture("capture", "Microsoft Windows PE", &["--compress=LZX:20"])?;
        fs::write(folder.join("tree/setup.exe"), "MZ")?;
        capture("append", "Microsoft Windows Setup", &["--boot"])?;
        fs::remove_file(folder.join("tree/setup.exe"))?;
        Ok(medium)
    }

    /// A path on the medium.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join("medium").join(file)
    }

    /// A path in the tree that its image was captured from.
    pub fn tree(&self, file: &str) -> PathBuf {
        self.folder.join("tree").join(file)
    }

    fn write_tree(&self) -> Result<()> {
        let from = |name: &str| fs::read(self.folder.join(name));
        let files: [(&str, Vec<u8>); 14] = [
            ("Windows/Boot/PXE/pxeboot.n12", from("nbp")?),
            ("Windows/Boot/PXE/pxeboot.com", from("nbp")?),
            ("Windows/Boot/PXE/bootmgr.exe", from("2011.efi")?),
            ("Windows/Boot/EFI/bootmgfw.efi", from("2011.efi")?),
            ("Windows/Boot/EFI/boot.stl", b"list of 2011".to_vec()),
            ("Windows/Boot/EFI_EX/bootmgfw_EX.efi", from("2023.efi")?),
            ("Windows/Boot/EFI_EX/boot.stl", b"list of 2023".to_vec()),
            ("Windows/Boot/Fonts/wgl4_boot.ttf", filled(b"2011", 40_000)),
            (
                "Windows/Boot/Fonts/segmono_boot.ttf",
                filled(b"2011", 30_000),
            ),
            (
                "Windows/Boot/FONTS_EX/wgl4_boot_EX.ttf",
                filled(b"2023", 40_000),
            ),
            ("Windows/System32/Boot/winload.exe", b"MZ".to_vec()),
            ("Windows/System32/Boot/winload.efi", b"MZ".to_vec()),
            ("Windows/System32/startnet.cmd", b"wpeinit\r\n".to_vec()),
            ("Windows/System32/drvload.exe", b"MZ".to_vec()),
        ];
        for (file, bytes) in files {
            let path = self.tree(file);
            fs::create_dir_all(path.parent().context("no folder")?)?;
            fs::write(path, bytes)?;
        }
        Ok(())
    }

    /// An ISO as Microsoft's are: all is in UDF, and beside that is ISO 9660 with a README.
    pub fn udf(&self) -> Result<PathBuf> {
        let hide = ["-hide", "sources", "-hide", "boot"];
        let udf = ["-udf", "-iso-level", "3", "-allow-limited-size"];
        self.iso("windows.iso", &[&udf[..], &hide[..]].concat())
    }

    /// An ISO of ISO 9660 with Joliet.
    pub fn joliet(&self) -> Result<PathBuf> {
        self.iso("joliet.iso", &["-iso-level", "3", "-J"])
    }

    /// An ISO of what is on the medium, made by genisoimage.
    pub fn iso(&self, name: &str, arguments: &[&str]) -> Result<PathBuf> {
        ensure_installed("genisoimage", "genisoimage")?;
        let usual = ["-quiet", "-o", name];
        let arguments = [&usual[..], arguments, &["medium"]].concat();
        run("genisoimage", &arguments, &self.folder)?;
        Ok(self.folder.join(name))
    }
}

/// Bytes that begin so, and that do not compress away.
pub fn filled(start: &[u8], length: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let rest = (start.len()..length).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    start.iter().copied().chain(rest).collect()
}
