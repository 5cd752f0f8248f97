//! The rpm of `proxydhcp` under systemd, on a Debian that has rpm: its scriptlets do there what they do on
//! systems that are made of rpms.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Packages;
use super::daemon::{has_left_nothing_answering, is_served, starts_nothing, takes_over};
use super::machine::SHARED;
use super::others::judge;
use super::site::Site;

pub(super) fn test(release: &str, packages: &Packages) -> Result<()> {
    let site = Site::boot(release, packages)?;
    let machine = &site.machine;
    let is_ours = |path: &&Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("proxydhcp-") && !name.starts_with("proxydhcp-xcat-")
    };
    let first = packages.ending(".rpm").find(is_ours);
    let first = first.context("there is no rpm")?;
    fs::copy(first, site.shared().join("first.rpm"))?;
    fs::copy(
        next(packages.folder.path())?,
        site.shared().join("next.rpm"),
    )?;
    // Its database knows none of Debian's packages, such as glibc.
    let rpm = |arguments: &str| machine.sh(&format!("cd {SHARED}; rpm --nodeps {arguments}"));

    let told = rpm("--install first.rpm")?;
    starts_nothing(machine).context(told)?;
    machine.sh("rpm --verify --nodeps proxydhcp")?;
    site.set_up()?;
    machine.sh(
        "systemctl enable --now proxydhcp || { journalctl --no-pager -u proxydhcp; exit 1; }",
    )?;
    site.storm().context("a storm after the installation")?;
    takes_over(&site, "an upgrade", || rpm("--upgrade next.rpm"))?;
    takes_over(&site, "a downgrade", || {
        rpm("--upgrade --oldpackage first.rpm")
    })?;
    is_served(machine)?;

    rpm("--erase proxydhcp")?;
    has_left_nothing_answering(&site)?;
    machine.sh(
        "test -e /etc/proxydhcp.toml.rpmsave -a ! -e /etc/proxydhcp.toml -a ! -e /usr/share/doc/proxydhcp; \
         cmp /mnt/proxydhcp.cfg /var/lib/xcat/proxydhcp.cfg",
    )?;
    Ok(())
}

/// Makes the rpm of another version, of the same files.
fn next(folder: &Path) -> Result<PathBuf> {
    let work = folder.join("work/rpm");
    let spec = fs::read_to_string(work.join("proxydhcp.spec"))?;
    let version = spec.lines().find(|line| line.starts_with("Version: "));
    let spec = spec.replace(version.context("no version")?, "Version: 999");
    let file = work.join("next.spec");
    fs::write(&file, spec)?;
    let mut build = Command::new("rpmbuild");
    build.args(["-bb", "--quiet", "--target", "x86_64-linux"]);
    for define in [
        &*format!("_topdir {}", work.display()),
        "debug_package %{nil}",
        "__os_install_post %{nil}",
        "_build_id_links none",
    ] {
        build.args(["--define", define]);
    }
    judge(build.arg(file))?;
    let rpms = fs::read_dir(work.join("RPMS/x86_64"))?;
    let paths = rpms.map(|entry| Ok(entry?.path()));
    let paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
    let is_it = |path: &PathBuf| path.display().to_string().contains("/proxydhcp-999-");
    let next = paths.into_iter().find(is_it);
    next.context("rpmbuild has made no rpm of the next version")
}
