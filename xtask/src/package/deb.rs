//! Debian packages, by dpkg-deb.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::manifest::{Content, Entry, Manifest, Package};
use super::needs::Needs;
use super::release::{REVISION, Release};
use super::{Format, tree};
use crate::command::{output, run};
use crate::workspace::root;

/// Who makes the packages.
pub(super) const MAINTAINER: &str = "proxydhcp maintainers <maintainers@proxydhcp.example>";
/// What dpkg calls the machine.
const ARCHITECTURE: &str = "amd64";

/// Makes all packages.
pub(super) fn make(
    manifest: &Manifest,
    made: &Path,
    release: &Release,
    out: &Path,
) -> Result<Vec<PathBuf>> {
    let packages = manifest.packages.iter();
    packages
        .map(|package| make_one(package, made, release, out).with_context(|| package.name.clone()))
        .collect()
}

fn make_one(package: &Package, made: &Path, release: &Release, out: &Path) -> Result<PathBuf> {
    let entries = package.entries(Format::Deb, made)?;
    let folder = tree::work(out, "deb").join(&package.name);
    tree::lay(&entries, &folder)?;
    let control = folder.join("DEBIAN");
    let sums = sums(&entries, &folder)?;
    let size = size(&entries)?;
    tree::make_folder(&control)?;
    fs::write(
        control.join("control"),
        fields(package, made, release, size)?,
    )?;
    fs::write(control.join("md5sums"), sums)?;
    let mut config = String::new();
    for entry in entries.iter().filter(|entry| entry.is_config) {
        // Writing to a string cannot fail.
        let _ = writeln!(config, "/{}", entry.to);
    }
    if !config.is_empty() {
        fs::write(control.join("conffiles"), config)?;
    }
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let from = root().join(format!("packaging/deb/{}.{script}", package.name));
        if from.exists() {
            fs::copy(from, control.join(script))?;
        }
    }
    for file in fs::read_dir(&control)? {
        let path = file?.path();
        let is_script = fs::read(&path)?.starts_with(b"#!");
        let mode = if is_script { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    tree::date(&folder, release)?;
    let file = out.join(format!(
        "{}_{}-{REVISION}_{ARCHITECTURE}.deb",
        package.name, release.version
    ));
    let mut build = Command::new("dpkg-deb");
    // xz: Debian 11 reads nothing newer.
    build.args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"]);
    run(release.date(build.arg(&folder).arg(&file)))?;
    Ok(file)
}

/// The fields of the file `control`.
fn fields(package: &Package, made: &Path, release: &Release, size: u64) -> Result<String> {
    let version = format!("{}-{REVISION}", release.version);
    let mut depends: Vec<String> = package
        .depends
        .iter()
        .map(|name| format!("{name} (= {version})"))
        .collect();
    if depends.is_empty() {
        let needs = Needs::of(&made.join("proxydhcp"))?;
        let (major, minor) = needs.glibc;
        depends.push(format!("libc6 (>= {major}.{minor})"));
        if needs
            .libraries
            .iter()
            .any(|name| name.starts_with("libgcc_s"))
        {
            depends.push("libgcc-s1".to_owned());
        }
    }
    let suggested: Vec<_> = package.suggests.iter().map(|it| &*it.deb).collect();
    let suggests = if suggested.is_empty() {
        String::new()
    } else {
        format!("Suggests: {}\n", suggested.join(", "))
    };
    Ok(format!(
        "Package: {}\nVersion: {version}\nArchitecture: {ARCHITECTURE}\nMaintainer: {MAINTAINER}\n\
         Installed-Size: {}\nDepends: {}\n{suggests}Section: net\nPriority: optional\nDescription: {}\n {}\n",
        package.name,
        size.div_ceil(1024),
        depends.join(", "),
        package.summary,
        package.description.trim().replace('\n', "\n ")
    ))
}

fn files(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    let is_file = |entry: &&Entry| matches!(entry.content, Content::File { .. });
    entries.iter().filter(is_file)
}

/// The file `md5sums`, by which `dpkg --verify` finds what has changed.
fn sums(entries: &[Entry], folder: &Path) -> Result<String> {
    let paths = files(entries).map(|entry| &entry.to);
    let mut md5sum = Command::new("md5sum");
    output(md5sum.args(paths).current_dir(folder)).map(|sums| sums + "\n")
}

/// The size of all files, in bytes.
fn size(entries: &[Entry]) -> Result<u64> {
    let sizes = files(entries).map(|entry| match &entry.content {
        Content::File { from, .. } => Ok(fs::metadata(from)?.len()),
        Content::Link(_) => Ok(0),
    });
    sizes.sum()
}
