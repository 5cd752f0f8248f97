//! The image that a WinPE boots: what is in it, and what is put into it, with wimlib.

use std::collections::HashMap;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::sys::tool::Tool;

const WIMLIB: Tool = Tool {
    program: "wimlib-imagex",
    package: "wimtools",
};

/// The loader of an updated image that the CA of 2023 has signed.
pub(crate) const EX_LOADER: &str = "/Windows/Boot/EFI_EX/bootmgfw_EX.efi";

/// An image in a WIM.
#[derive(Debug)]
pub(crate) struct Image {
    file: PathBuf,
    index: String,
    /// The paths in it, by their lower case.
    paths: HashMap<String, String>,
}

impl Image {
    /// Looks at the image of this number.
    ///
    /// # Errors
    /// wimlib is not installed, or the WIM is damaged.
    pub(crate) fn open(file: &Path, index: u32) -> Result<Self> {
        let mut image = Self {
            file: file.to_owned(),
            index: index.to_string(),
            paths: HashMap::new(),
        };
        let listed = image.run("dir", &[], Stdio::null())?;
        let listed = String::from_utf8_lossy(&listed);
        let paths = listed.lines().filter(|line| line.starts_with('/'));
        image.paths = paths
            .map(|path| (path.to_lowercase(), path.to_owned()))
            .collect();
        Ok(image)
    }

    /// The path in the image that differs from this one in letter case at most.
    pub(crate) fn find(&self, path: &str) -> Option<&str> {
        self.paths.get(&path.to_lowercase()).map(String::as_str)
    }

    /// The names of what is in a folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<&str> {
        let folder = format!("{}/", folder.to_lowercase());
        let inside = self.paths.iter().filter_map(|(lower, path)| {
            let name = lower.strip_prefix(&folder)?;
            (!name.contains('/')).then(|| path.rsplit('/').next())?
        });
        let mut names: Vec<_> = inside.collect();
        names.sort_unstable();
        names
    }

    /// The bytes of a file in the image.
    ///
    /// # Errors
    /// There is no such file, or the WIM is damaged.
    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let found = self.find(path);
        let found = found.with_context(|| format!("the image has no {path}"))?;
        let bytes = self.run("extract", &[found, "--to-stdout"], Stdio::null())?;
        if bytes.is_empty() {
            bail!("{found} of the image is empty");
        }
        Ok(bytes)
    }

    /// Changes the image by commands of wimlib, a line each.
    ///
    /// # Errors
    /// The disk is full.
    pub(crate) fn update(&self, commands: &str) -> Result<()> {
        let mut input = tempfile::tempfile().context("no temporary file can be made")?;
        input.write_all(commands.as_bytes())?;
        input.rewind()?;
        self.run("update", &[], input.into())?;
        Ok(())
    }

    /// Makes it the one of its WIM that is booted.
    ///
    /// # Errors
    /// The WIM is damaged.
    pub(crate) fn boot(&self) -> Result<()> {
        self.run("info", &["--boot"], Stdio::null())?;
        Ok(())
    }

    fn run(&self, task: &str, arguments: &[&str], input: Stdio) -> Result<Vec<u8>> {
        let mut command = WIMLIB.command();
        let command: &mut Command = command
            .arg(task)
            .arg(&self.file)
            .arg(&self.index)
            .args(arguments)
            // Otherwise a path in another letter case is another file beside the one that Windows has.
            .env("WIMLIB_IMAGEX_IGNORE_CASE", "1");
        WIMLIB.output(command, input)
    }
}
