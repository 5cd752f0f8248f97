//! The TFTP root that machines boot from. `proxydhcp winpe create` makes its WinPEs, from media whose loaders
//! are those of [`loader`](crate::loader).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::medium::{AMD64, Medium};
use proxydhcp_lab::{Ended, binary};
use tempfile::TempDir;

use crate::node::Node;
use crate::qemu::Firmware;
use crate::{BIOS, UEFI};

/// Its folder, which is made once in a run: machines only read it. It stays for those who look for what
/// made a boot fail, until the next run.
pub(crate) fn tftp_root() -> Result<&'static Path> {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(root) = ROOT.get() {
        return Ok(root);
    }
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware-tftpboot");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir_all(&root)?;
    for winpe in [BIOS.winpe, UEFI.winpe] {
        create(winpe, &root).with_context(|| winpe.to_owned())?;
    }
    Ok(ROOT.get_or_init(|| root))
}

/// Makes a WinPE whose loaders say which they are.
fn create(winpe: &'static str, root: &Path) -> Result<()> {
    let program = |firmware| {
        let node = Node {
            firmware,
            winpe,
            ..BIOS
        };
        node.program()
    };
    let folder = TempDir::new()?;
    let loaders = [
        ("Windows/Boot/PXE/pxeboot.n12", &*program(Firmware::Bios)?),
        ("Windows/Boot/EFI/bootmgfw.efi", &*program(Firmware::Uefi)?),
    ];
    let medium = Medium::with(folder.path(), AMD64, &loaders)?;
    let name = winpe.trim_start_matches("winboot/").trim_end_matches('/');
    let settings = folder.path().join("proxydhcp.toml");
    fs::write(&settings, "")?;
    let winpe = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(binary()?);
        command.arg("winpe").args(arguments);
        command.arg("--tftp-root").arg(root);
        command.arg("--settings").arg(&settings);
        let ended: Ended = command.output()?.into();
        ensure!(ended.code == Some(0), "{ended:?}");
        Ok(())
    };
    let from = medium.udf()?.display().to_string();
    winpe(&["create", name, "--from", &from])?;
    winpe(&["check", name])
}
