//! The files that a guest boots with: a shell, and the modules that it needs to see the host's
//! files. All other modules are loaded in the guest when they are needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::debian::ensure_installed;
use tempfile::{NamedTempFile, TempDir};

use super::fetch::{Kernel, output};
use super::modules::{insertion_order, name};

const BUSYBOX: &str = "/bin/busybox";
const INIT: &str = include_str!("init.sh");
/// The modules for the host's files, the overlay on top of them, and the port for commands.
const MODULES: [&str; 5] = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "virtio_console",
];
/// The folders on which the init script mounts.
const FOLDERS: [&str; 8] = [
    "bin", "dev", "host", "memory", "modules", "proc", "root", "sys",
];

/// Makes the archive for a kernel. Dropping the returned file removes it.
pub(crate) fn make(kernel: &Kernel) -> Result<NamedTempFile> {
    ensure_installed("busybox", "busybox-static")?;
    ensure_installed("cpio", "cpio")?;
    ensure_installed("xz", "xz-utils")?;
    let folder = TempDir::new()?;
    let root = folder.path();
    for folder in FOLDERS {
        fs::create_dir(root.join(folder))?;
    }
    let busybox = fs::read(BUSYBOX).with_context(|| format!("cannot read {BUSYBOX}"))?;
    let is_static = !busybox.windows(10).any(|window| window == b"/ld-linux-");
    ensure!(
        is_static,
        "{BUSYBOX} needs libraries, which a guest does not have: install busybox-static"
    );
    fs::copy(BUSYBOX, root.join("bin/busybox"))?;
    fs::write(root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    add_modules(kernel, &root.join("modules"))?;
    pack(root)
}

fn add_modules(kernel: &Kernel, folder: &Path) -> Result<()> {
    let source = kernel.modules();
    let read = |file: &str| fs::read_to_string(source.join(file));
    let dependencies = read("modules.dep")?;
    let builtin = read("modules.builtin")?;
    let mut order = String::new();
    for file in insertion_order(&dependencies, &builtin, &MODULES)? {
        let module = format!("{}.ko", name(&file));
        let (from, to) = (source.join(&file), folder.join(&module));
        if Path::new(&file).extension().is_some_and(|end| end == "xz") {
            let unpacked = fs::File::create(to)?;
            let mut unpack = Command::new("xz");
            unpack.arg("--decompress").arg("--stdout").arg(from);
            let status = unpack.stdout(unpacked).status()?;
            ensure!(status.success(), "cannot unpack {file}: {status}");
        } else {
            fs::copy(from, to)?;
        }
        order.push_str(&module);
        order.push('\n');
    }
    fs::write(folder.join("order"), order)?;
    Ok(fs::write(
        folder.join("folder"),
        source.as_os_str().as_encoded_bytes(),
    )?)
}

fn pack(root: &Path) -> Result<NamedTempFile> {
    let archive = NamedTempFile::new()?;
    let list = output(Command::new("find").arg(".").current_dir(root))?;
    let names = NamedTempFile::new()?;
    fs::write(names.path(), list)?;
    let mut pack = Command::new("cpio");
    let status = pack
        .args(["--create", "--format=newc", "--quiet"])
        .current_dir(root)
        .stdin(Stdio::from(fs::File::open(names.path())?))
        .stdout(archive.reopen()?)
        .status()
        .context("cannot start cpio")?;
    ensure!(status.success(), "cpio: {status}");
    Ok(archive)
}
