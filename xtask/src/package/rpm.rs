//! RPM packages, by rpmbuild.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::debian::ensure_installed;

use super::deb::MAINTAINER;
use super::manifest::{Entry, Manifest, Package};
use super::release::{REVISION, Release};
use super::{Format, tree};
use crate::command::run;
use crate::workspace::root;

/// The specification, in which the names and files of the packages are filled in.
const SPEC: &str = "packaging/rpm/proxydhcp.spec.in";

/// Makes all packages.
pub(super) fn make(
    manifest: &Manifest,
    made: &Path,
    release: &Release,
    out: &Path,
) -> Result<Vec<PathBuf>> {
    ensure_installed("rpmbuild", "rpm")?;
    let work = tree::work(out, "rpm");
    let mut spec = fs::read_to_string(root().join(SPEC))?;
    let mut all = Vec::new();
    for package in &manifest.packages {
        let entries = package.entries(Format::Rpm, made)?;
        for (mark, text) in [
            ("SUMMARY", package.summary.clone()),
            ("SUGGESTS", suggests(package)),
            ("DESCRIPTION", package.description.trim().to_owned()),
            (
                "FILES",
                folders(&entries) + &entries.iter().map(listed).collect::<String>(),
            ),
        ] {
            spec = spec.replace(&format!("@{mark} {}@", package.name), &text);
        }
        all.extend(entries);
    }
    let tree = work.join("tree");
    tree::lay(&all, &tree)?;
    tree::date(&tree, release)?;
    spec = spec.replace("@VERSION@", release.version);
    spec = spec.replace("@DATE@", &release.format("+%a %b %d %Y")?);
    spec = spec.replace("@RELEASE@", REVISION);
    spec = spec.replace("@TREE@", &tree.display().to_string());
    let is_left = spec.contains('@');
    spec = spec.replace("(PACKAGER)", MAINTAINER);
    ensure!(!is_left, "{SPEC} has a mark that nothing fills in");
    let file = work.join("proxydhcp.spec");
    fs::write(&file, spec)?;
    build(&file, &work, release)?;
    let packages = manifest.packages.iter();
    packages
        .map(|package| {
            let name = format!("{}-{}-{REVISION}.x86_64.rpm", package.name, release.version);
            let (from, to) = (work.join("RPMS/x86_64").join(&name), out.join(&name));
            fs::copy(&from, &to).with_context(|| from.display().to_string())?;
            Ok(to)
        })
        .collect()
}

/// The lines of what a package suggests.
fn suggests(package: &Package) -> String {
    let mut lines = String::new();
    for suggestion in &package.suggests {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "Suggests: {}", suggestion.rpm);
    }
    lines
}

/// The lines of the folders that are the packages' own: rpm removes no others.
fn folders(entries: &[Entry]) -> String {
    let folders = entries
        .iter()
        .flat_map(|entry| Path::new(&entry.to).ancestors().skip(1));
    let own =
        folders.filter(|folder| folder.starts_with("usr/share/doc") && folder.iter().count() > 3);
    let own: BTreeSet<_> = own.collect();
    let mut lines = String::new();
    for folder in own {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "%dir /{}", folder.display());
    }
    lines
}

/// The line of a file in the list of the specification.
fn listed(entry: &Entry) -> String {
    let kind = if entry.is_config {
        "%config(noreplace) "
    } else {
        ""
    };
    format!("{kind}/{}\n", entry.to)
}

fn build(spec: &Path, work: &Path, release: &Release) -> Result<()> {
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild.args(["-bb", "--quiet", "--target", "x86_64-linux"]);
    for (name, value) in [
        ("_topdir", &*work.display().to_string()),
        ("_dbpath", &*work.join("db").display().to_string()),
        ("_buildhost", "localhost"),
        ("use_source_date_epoch_as_buildtime", "1"),
        ("clamp_mtime_to_source_date_epoch", "1"),
        ("_build_id_links", "none"),
        ("debug_package", "%{nil}"),
        ("__os_install_post", "%{nil}"),
        // Readable for RHEL 8.
        ("_binary_payload", "w9.xzdio"),
    ] {
        rpmbuild.arg("--define").arg(format!("{name} {value}"));
    }
    run(release.date(rpmbuild.arg(spec)))
}
