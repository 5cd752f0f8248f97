//! Fetches Debian's kernels from the mirror that this machine's apt uses, into `target/kernels/`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_lab::debian::ensure_installed;

use super::version::{Packages, Version};

/// A kernel that is ready to boot.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What `uname -r` prints.
    pub(crate) release: String,
    folder: PathBuf,
}

impl Kernel {
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("boot/vmlinuz")
    }

    /// The folder of its modules.
    pub(crate) fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }
}

/// Fetches a kernel, unless its newest build is already in the cache.
///
/// # Errors
/// If there is no such kernel, or it cannot be fetched.
pub(crate) fn fetch(version: &'static Version, cache: &Path) -> Result<Kernel> {
    let folder = cache.join(version.name);
    let apt = Apt::new(version, cache.join(format!("{}.apt", version.name)))?;
    let listed = apt.update().and_then(|()| apt.packages());
    let is_here = fs::read_to_string(folder.join("release")).ok();
    let packages = match (listed, &is_here) {
        (Ok(packages), _) => packages,
        // If no mirror can be reached, the cached kernel is used.
        (Err(_), Some(release)) => return Ok(kernel(release.clone(), folder)),
        (Err(error), None) => return Err(error),
    };
    if is_here.as_ref() != Some(&packages.release) {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        unpack(&apt, &packages, &folder)
            .with_context(|| format!("cannot unpack Linux {}", packages.release))?;
        // The file is written last, so that unfinished work is repeated.
        fs::write(folder.join("release"), &packages.release)?;
    }
    Ok(kernel(packages.release, folder))
}

fn kernel(release: String, folder: PathBuf) -> Kernel {
    Kernel { release, folder }
}

fn unpack(apt: &Apt, packages: &Packages, folder: &Path) -> Result<()> {
    ensure_installed("depmod", "kmod")?;
    for package in apt.download(&packages.names)? {
        let mut unpack = Command::new("dpkg-deb");
        output(unpack.arg("--extract").arg(&package).arg(folder))?;
        fs::remove_file(package)?;
    }
    // Newer packages have everything under /usr.
    if !folder.join("lib").exists() {
        symlink("usr/lib", folder.join("lib"))?;
    }
    let release = &packages.release;
    let image = [
        format!("boot/vmlinuz-{release}"),
        format!("usr/lib/modules/{release}/vmlinuz"),
    ]
    .map(|path| folder.join(path));
    let image = image.iter().find(|path| path.is_file());
    let image = image.context("its packages have no image")?;
    let boot = folder.join("boot");
    fs::create_dir_all(&boot)?;
    fs::rename(image, boot.join("vmlinuz"))?;
    output(Command::new("depmod").arg("-b").arg(folder).arg(release)).map(drop)
}

/// A separate apt configuration, which knows the suites of one kernel and no installed packages.
struct Apt {
    folder: PathBuf,
    version: &'static Version,
}

impl Apt {
    fn new(version: &'static Version, folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("archives/partial"))?;
        let mirrors = Mirrors::of_this_machine()?;
        let sources = version.suites.iter().map(|suite| mirrors.source(suite));
        fs::write(
            folder.join("sources.list"),
            sources.collect::<Vec<_>>().concat(),
        )?;
        Ok(Self { folder, version })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (option, value) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "."),
        ] {
            let value = self.folder.join(value);
            command.arg("-o");
            command.arg(format!("{option}={}", value.display()));
        }
        for option in [
            "Dir::Etc::sourceparts=-",
            "Dir::State::status=/dev/null",
            "Acquire::Languages=none",
            // Apt's own user may not write here.
            "APT::Sandbox::User=root",
        ] {
            command.args(["-o", option]);
        }
        command
    }

    fn update(&self) -> Result<()> {
        let mut update = self.command("apt-get");
        update.args(["update", "--error-on=any"]);
        output(&mut update).map(drop)
    }

    fn packages(&self) -> Result<Packages> {
        let mut names = self.command("apt-cache");
        let names = output(names.args(["pkgnames", "linux-"]))?;
        let names: Vec<&str> = names.lines().collect();
        self.version.packages(&names).with_context(|| {
            format!(
                "Debian's {} has no such kernel",
                self.version.suites.join(", ")
            )
        })
    }

    /// Downloads packages, and returns their files.
    fn download(&self, names: &[String]) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join("archives");
        let mut download = self.command("apt-get");
        download.arg("download").args(names).current_dir(&folder);
        output(&mut download)?;
        let files = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
        let files: Result<Vec<PathBuf>> = files.collect();
        let mut files = files?;
        files.retain(|file| file.extension().is_some_and(|end| end == "deb"));
        ensure!(!files.is_empty(), "apt-get has downloaded nothing");
        Ok(files)
    }
}

/// The mirrors that this machine's packages come from.
#[derive(Debug, PartialEq, Eq)]
struct Mirrors {
    main: String,
    security: String,
}

impl Mirrors {
    fn of_this_machine() -> Result<Self> {
        let mut targets = Command::new("apt-get");
        targets.args(["indextargets", "--no-release-info"]);
        targets.args(["--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]);
        let targets = output(&mut targets)?;
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self::find(&release, &targets)
            .context("the kernels are Debian's: this takes a Debian machine whose apt has a mirror")
    }

    /// Finds them in `/etc/os-release` and in apt's list of suites and addresses.
    fn find(os_release: &str, targets: &str) -> Option<Self> {
        let is_debian = os_release.lines().any(|line| line == "ID=debian");
        let name = |line: &str| line.strip_prefix("VERSION_CODENAME=").map(str::to_owned);
        let name = os_release.lines().find_map(name).filter(|_| is_debian)?;
        let of = |suite: &str| {
            let mut targets = targets.lines().filter_map(|line| line.split_once(' '));
            let (_, address) = targets.find(|(release, _)| *release == suite)?;
            Some(address.to_owned())
        };
        Some(Self {
            main: of(&name)?,
            security: of(&format!("{name}-security"))?,
        })
    }

    fn source(&self, suite: &str) -> String {
        let mirror = if suite.ends_with("-security") {
            &self.security
        } else {
            &self.main
        };
        format!("deb [arch=amd64 target=Packages] {mirror} {suite} main\n")
    }
}

/// The output of a program that must succeed.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{name}: {}: {}", output.status, words.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirrors_are_those_of_this_machine() {
        let debian = "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        let targets = "nodistro http://elsewhere/node/\n\
            bookworm-updates http://a.mirror/debian/\n\
            bookworm http://a.mirror/debian/\n\
            bookworm-security http://a.mirror/security/\n";
        let mirrors = Mirrors::find(debian, targets).unwrap();
        assert_eq!(
            mirrors.source("trixie-backports"),
            "deb [arch=amd64 target=Packages] http://a.mirror/debian/ trixie-backports main\n"
        );
        assert_eq!(
            mirrors.source("bullseye-security"),
            "deb [arch=amd64 target=Packages] http://a.mirror/security/ bullseye-security main\n"
        );
        assert_eq!(Mirrors::find(debian, "nodistro http://elsewhere/\n"), None);
        let ubuntu = debian.replace("ID=debian", "ID=ubuntu");
        assert_eq!(Mirrors::find(&ubuntu, targets), None);
    }
}
