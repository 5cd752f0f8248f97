//! Where the tests of `proxydhcp winpe create` make WinPEs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use proxydhcp_lab::medium::run;
use proxydhcp_lab::{Ended, binary};
use tempfile::TempDir;

/// A TFTP root, and a folder for media.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let place = Self {
            folder: TempDir::new()?,
        };
        fs::set_permissions(place.folder.path(), PermissionsExt::from_mode(0o755))?;
        fs::create_dir(place.root())?;
        fs::create_dir(place.media())?;
        fs::write(place.folder.path().join("proxydhcp.toml"), "")?;
        Ok(place)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("tftp")
    }

    pub(crate) fn media(&self) -> PathBuf {
        self.folder.path().join("media")
    }

    /// A path in `winboot/`.
    pub(crate) fn winboot(&self, path: &str) -> PathBuf {
        self.root().join("winboot").join(path)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.arg("winpe").args(arguments);
        command.arg("--tftp-root").arg(self.root());
        command.arg("--settings");
        command.arg(self.folder.path().join("proxydhcp.toml"));
        command.current_dir(self.media());
        Ok(command)
    }

    /// The command that makes a WinPE from a medium.
    pub(crate) fn create(&self, name: &str, from: &Path, more: &[&str]) -> Result<Command> {
        let mut command = self.command(&["create", name])?;
        command.arg("--from").arg(from).args(more);
        Ok(command)
    }

    pub(crate) fn created(&self, name: &str, from: &Path, more: &[&str]) -> Result<Ended> {
        let ended: Ended = self.create(name, from, more)?.output()?.into();
        ensure!(ended.code == Some(0), "{ended:?}");
        Ok(ended)
    }

    /// What the command says that makes none, and leaves nothing.
    pub(crate) fn refused(&self, name: &str, from: &Path, more: &[&str]) -> Result<String> {
        let before = self.names()?;
        let ended: Ended = self.create(name, from, more)?.output()?.into();
        ensure!(
            ended.code == Some(1) && ended.stdout.is_empty(),
            "{ended:?}"
        );
        let after = self.names()?;
        ensure!(after == before, "{after:?}");
        Ok(ended.stderr)
    }

    /// The names in `winboot/`, hidden ones, too.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(self.root().join("winboot")) else {
            return Ok(Vec::new());
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<_> = names.collect::<Result<_>>()?;
        names.sort_unstable();
        Ok(names)
    }

    /// A file of the first image of a WinPE.
    pub(crate) fn in_image(&self, name: &str, path: &str) -> Result<String> {
        let wim = self.winboot(name).join("Boot/WinPE_64.wim");
        let wim = wim.display().to_string();
        let arguments = ["extract", &wim, "1", path, "--to-stdout"];
        let bytes = run("wimlib-imagex", &arguments, &self.media())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
