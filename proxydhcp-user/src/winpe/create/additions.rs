//! What is put into an image: drivers, the commands at its start, and other files.
//!
//! Names reach the command line of Windows and that of wimlib, so those that mean something there are
//! refused.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::sys::text_file;

/// The commands at the start of an image, which winpeshl runs where there is no other program to run.
pub(super) const STARTNET: &str = "/Windows/System32/startnet.cmd";
/// What the script has if it has nothing else: devices and network.
const WPEINIT: &str = "wpeinit";
/// Loads each driver: one that is only copied into the driver store is not loaded.
const LOAD: &str = r#"for /r %SystemDrive%\Drivers %%i in (*.inf) do drvload "%%i""#;
/// Has the network use what was loaded.
const NETWORK: &str = "wpeutil InitializeNetwork";
/// The longest path that drvload opens (`MAX_PATH`), in characters.
const LONGEST: usize = 259;
/// The depth of folders that are looked into.
const DEEPEST: usize = 32;

/// Files to put into an image. They have been looked at.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    drivers: Vec<PathBuf>,
    startnet: Option<Vec<u8>>,
    includes: Vec<(PathBuf, String)>,
}

impl Additions {
    /// Looks at folders of drivers, a file of commands, and files with their paths in the image.
    ///
    /// # Errors
    /// One is not there, is a link, or has a name that is refused; a folder has no driver.
    pub(crate) fn new(
        drivers: &[PathBuf],
        startnet: Option<&Path>,
        includes: &[(PathBuf, String)],
    ) -> Result<Self> {
        let mut additions = Self::default();
        for (folder, number) in drivers.iter().zip(1_usize..) {
            let folder = real(folder)?;
            if !folder.is_dir() {
                bail!("{}: not a folder of drivers", folder.display());
            }
            let at = format!(r"X:\Drivers\{number}").len();
            if count_drivers(&folder, at, 0)? == 0 {
                bail!("{}: has no driver (*.inf)", folder.display());
            }
            additions.drivers.push(folder);
        }
        for (from, to) in includes {
            let from = real(from)?;
            if from.is_dir() {
                count_drivers(&from, to.len(), 0)?;
            }
            additions.includes.push((from, to.clone()));
        }
        if let Some(file) = startnet {
            additions.startnet = Some(with_windows_ends(&text_file::read(file)?));
        }
        Ok(additions)
    }

    /// Whether there is nothing to put into the image.
    pub(super) fn is_empty(&self) -> bool {
        self.drivers.is_empty() && self.startnet.is_none() && self.includes.is_empty()
    }

    /// Whether the image's start changes.
    pub(super) fn changes_start(&self) -> bool {
        !self.drivers.is_empty() || self.startnet.is_some()
    }

    /// The commands of the image's start, where `before` are those that it has.
    pub(super) fn start(&self, before: Option<Vec<u8>>) -> Vec<u8> {
        let commands = self.startnet.clone().or(before);
        let commands = commands.unwrap_or_else(|| format!("{WPEINIT}\r\n").into_bytes());
        if self.drivers.is_empty() {
            return commands;
        }
        with_drivers(&commands)
    }

    /// The commands of wimlib that put the files into the image.
    pub(super) fn commands(&self, start: Option<&Path>) -> String {
        let mut commands = String::new();
        let mut add = |from: &Path, to: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(commands, "add \"{}\" \"{to}\"", from.display());
        };
        for (folder, number) in self.drivers.iter().zip(1_usize..) {
            add(folder, &format!("/Drivers/{number}"));
        }
        if let Some(start) = start {
            add(start, STARTNET);
        }
        for (from, to) in &self.includes {
            add(from, to);
        }
        commands
    }
}

/// Parses a path in an image, as Windows or Linux write it: from its root on.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn path_in_image(text: &str) -> Result<String, String> {
    let path = text.replace('\\', "/");
    let path = path
        .get(2..)
        .filter(|_| path.get(1..2) == Some(":"))
        .unwrap_or(&path);
    let mut told = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        judge(part)?;
        told.push('/');
        told.push_str(part);
    }
    if told.is_empty() || path.ends_with('/') {
        return Err("name the file itself, such as \\Windows\\System32\\x.exe".to_owned());
    }
    Ok(told)
}

/// Refuses a name that Windows cannot have, or that means something on a command line.
fn judge(name: &str) -> Result<(), String> {
    let is_bad = |char: char| char.is_control() || "%&^\"!<>|:*?\\/".contains(char);
    if let Some(bad) = name.chars().find(|char| is_bad(*char)) {
        return Err(format!(
            "{name:?} has {bad:?}, which means something to Windows' command line"
        ));
    }
    if name.is_empty() || name.ends_with(['.', ' ']) {
        return Err(format!(
            "{name:?} ends with a dot or a blank, which Windows does not take"
        ));
    }
    Ok(())
}

/// The path without links; its name must be one that wimlib takes.
fn real(path: &Path) -> Result<PathBuf> {
    let real = fs::canonicalize(path).with_context(|| path.display().to_string())?;
    let text = real
        .to_str()
        .with_context(|| format!("{}: not text (UTF-8)", real.display()))?;
    if text.chars().any(|char| char == '"' || char.is_control()) {
        bail!("{text:?}: has a quotation mark or a control character; rename it");
    }
    Ok(real)
}

/// The number of drivers in a folder, whose path in the image has this many characters.
fn count_drivers(folder: &Path, at: usize, depth: usize) -> Result<usize> {
    if depth > DEEPEST {
        bail!("{}: too deep", folder.display());
    }
    let mut count = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry.with_context(|| folder.display().to_string())?;
        let path = entry.path();
        let shown = path.display();
        let name = entry.file_name();
        let name = name
            .to_str()
            .with_context(|| format!("{shown}: its name is not text (UTF-8)"))?;
        if let Err(problem) = judge(name) {
            bail!("{}: {problem}; rename it", folder.display());
        }
        let at = at + 1 + name.encode_utf16().count();
        if at > LONGEST {
            bail!(
                "{shown}: its path in the image has {at} characters, and Windows takes {LONGEST}"
            );
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            count += count_drivers(&path, at, depth + 1)?;
        } else if !kind.is_file() {
            bail!("{shown}: neither a file nor a folder; links are not followed");
        } else if name.to_ascii_lowercase().ends_with(".inf") {
            count += 1;
        }
    }
    Ok(count)
}

/// Commands that load the drivers as soon as devices are there.
fn with_drivers(commands: &[u8]) -> Vec<u8> {
    let load = format!("{LOAD}\r\n{NETWORK}\r\n");
    let mut with = Vec::new();
    let mut is_loaded = false;
    for line in commands.split_inclusive(|byte| *byte == b'\n') {
        with.extend(line);
        if !is_loaded && line.trim_ascii().eq_ignore_ascii_case(WPEINIT.as_bytes()) {
            if !line.ends_with(b"\n") {
                with.extend(b"\r\n");
            }
            with.extend(load.as_bytes());
            is_loaded = true;
        }
    }
    if !is_loaded {
        return [load.as_bytes(), commands].concat();
    }
    with
}

/// The text with the ends of lines that cmd.exe needs.
fn with_windows_ends(text: &[u8]) -> Vec<u8> {
    let mut with = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        if *byte == b'\n' && (at == 0 || text.get(at - 1) != Some(&b'\r')) {
            with.push(b'\r');
        }
        with.push(*byte);
    }
    with
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn new(drivers: &Path) -> Result<Additions> {
        Additions::new(&[drivers.to_owned()], None, &[])
    }

    #[test]
    fn names_that_mean_something_are_refused() {
        let names = [
            "a%b", "a&b", "a^b", "a\"b", "a!b", "a|b", "a\nb", "a.", "a:b", "a\\b",
        ];
        for name in names {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("good.inf"), "").unwrap();
            assert!(new(folder.path()).is_ok());
            fs::create_dir(folder.path().join(name)).unwrap();
            let error = new(folder.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let error = new(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("has no driver (*.inf)"), "{error}");
        symlink("/etc", folder.path().join("link")).unwrap();
        let error = new(folder.path()).unwrap_err().to_string();
        assert!(error.contains("links are not followed"), "{error}");
        fs::remove_file(folder.path().join("link")).unwrap();
        let deep = folder.path().join(format!("{0}/{0}", "d".repeat(130)));
        fs::create_dir_all(deep).unwrap();
        let error = new(folder.path()).unwrap_err().to_string();
        assert!(error.contains("Windows takes 259"), "{error}");
    }

    #[test]
    fn paths_in_the_image_are_taken_as_windows_or_linux_write_them() {
        for text in [
            r"\Windows\x.exe",
            "Windows/x.exe",
            r"X:\Windows\x.exe",
            "/Windows//x.exe",
        ] {
            assert_eq!(path_in_image(text).unwrap(), "/Windows/x.exe");
        }
        for text in ["", "/", r"\x\", "a/../b", "a%b", "a\"b", "a/b.", "C:"] {
            assert!(path_in_image(text).is_err(), "{text}");
        }
    }

    #[test]
    fn drivers_are_loaded_after_wpeinit_or_else_first() {
        let with = |commands: &str| String::from_utf8(with_drivers(commands.as_bytes())).unwrap();
        let load = format!("{LOAD}\r\n{NETWORK}\r\n");
        assert_eq!(with("WPEINIT"), format!("WPEINIT\r\n{load}"));
        let commands = "@echo off\r\nwpeinit\r\nwpeinit\r\nx\r\n";
        assert_eq!(
            with(commands),
            format!("@echo off\r\nwpeinit\r\n{load}wpeinit\r\nx\r\n")
        );
        assert_eq!(with("x\r\n"), format!("{load}x\r\n"));
        assert_eq!(with_windows_ends(b"\na\r\nb\n"), b"\r\na\r\nb\r\n");
    }
}
