//! `cargo xtask test packages`: packages are installed, upgraded and removed as sites do it.
//!
//! Each Debian is made anew by debootstrap and boots its own systemd by systemd-nspawn, in a network
//! namespace whose clients ask from outside. Nothing of this machine but its kernel is in there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::builder::PossibleValuesParser;
use proxydhcp_lab::require_rights;
use tempfile::TempDir;

use crate::package::{Format, Libc, make};

mod daemon;
mod machine;
mod others;
mod rpm;
mod site;
mod xcat;

use machine::RELEASES;

/// Installs, upgrades and removes packages on Debian's releases, and looks for mistakes in them.
///
/// What debootstrap makes stays in target/roots/.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  sudo cargo xtask test packages
  sudo cargo xtask test packages 12
  sudo cargo xtask test packages --few       with a program for this machine's glibc, on one release")]
pub(crate) struct Arguments {
    /// The releases of Debian; all if none is named.
    #[arg(value_name = "RELEASE", value_parser = PossibleValuesParser::new(RELEASES.map(|(number, _)| number)))]
    releases: Vec<String>,
    /// Run only the tests that `cargo xtask test` runs
    #[arg(long)]
    few: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.few {
        return run_few();
    }
    let is_chosen = |number: &&str| {
        arguments.releases.is_empty() || arguments.releases.iter().any(|chosen| chosen == number)
    };
    let releases: Vec<_> = RELEASES
        .map(|(number, _)| number)
        .into_iter()
        .filter(is_chosen)
        .collect();
    let packages = Packages::make(Libc::Old)?;
    let mut failed = Vec::new();
    let mut judge = |what: String, outcome: Result<()>| match outcome {
        Ok(()) => println!("{what}: ok"),
        Err(error) => {
            println!("{what}: FAILED: {error:#}");
            failed.push(what);
        }
    };
    judge("glibc 2.28".to_owned(), others::needs_an_old_glibc());
    judge("cargo deny".to_owned(), others::cargo_deny());
    judge("suggestions".to_owned(), others::suggests(&packages));
    judge("lintian".to_owned(), others::lintian(&packages));
    judge("rpmlint".to_owned(), others::rpmlint(&packages));
    judge("rpm, with xCAT".to_owned(), others::rpm(&packages));
    judge("rpm, under systemd".to_owned(), rpm::test("12", &packages));
    for release in releases {
        judge(
            format!("Debian {release}"),
            daemon::test(release, &packages),
        );
        judge(
            format!("Debian {release}, xCAT"),
            xcat::test(release, &packages),
        );
    }
    // Builds all anew, which takes as long as everything else.
    judge(
        "the same bytes twice".to_owned(),
        others::same_bytes(&packages),
    );
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// The tests that each change has to pass: those on this machine's release, with the program that the
/// other tests have run.
pub(crate) fn run_few() -> Result<ExitCode> {
    let packages = Packages::make(Libc::Host)?;
    others::cargo_deny()?;
    println!("cargo deny: ok");
    others::suggests(&packages)?;
    println!("suggestions: ok");
    others::lintian(&packages)?;
    println!("lintian: ok");
    daemon::test("12", &packages)?;
    println!("Debian 12: ok");
    xcat::test("12", &packages)?;
    println!("Debian 12, xCAT: ok");
    Ok(ExitCode::SUCCESS)
}

/// Packages of two versions.
struct Packages {
    folder: TempDir,
    files: Vec<PathBuf>,
}

/// The number of the second version, which only differs in this.
const NEXT: &str = "999-1";

impl Packages {
    fn make(libc: Libc) -> Result<Self> {
        require_rights().context("machines cannot run")?;
        let folder = TempDir::new()?;
        let formats: &[Format] = match libc {
            Libc::Host => &[Format::Deb],
            Libc::Old => &[Format::Deb, Format::Rpm, Format::Tar],
        };
        let files = make(formats, libc, folder.path())?;
        let packages = Self { folder, files };
        for name in ["proxydhcp", "proxydhcp-xcat"] {
            machine::repack(packages.deb(name)?, &packages.next(name), NEXT)?;
        }
        Ok(packages)
    }

    /// The files whose names end so.
    fn ending(&self, end: &str) -> impl Iterator<Item = &Path> {
        let paths = self.files.iter().map(PathBuf::as_path);
        paths.filter(move |path| path.to_string_lossy().ends_with(end))
    }

    /// The package of this name.
    fn deb(&self, name: &str) -> Result<&Path> {
        let begin = format!("{name}_");
        let is_it = |path: &&Path| {
            let file = path.file_name().unwrap_or_default();
            file.to_string_lossy().starts_with(&begin)
        };
        self.ending(".deb").find(is_it).context("no such package")
    }

    /// Its next version.
    fn next(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.next.deb"))
    }
}
