//! A WinPE's place below the TFTP root, and the files there that a client is sent to.

use std::collections::HashMap;
use std::path::{Component, Path};

use proxydhcp_common::wire::Bootp;

use crate::winpe::bcd::network::Firmware;
use crate::winpe::loaders::{BcdChoice, Loaders};

const FILE_TEXT: usize = Bootp::FILE_TEXT;

/// The boot configuration data that both loaders read, below a WinPE's folder.
pub const BCD: &str = "Boot/BCD";
/// The boot configuration data that UEFI's loader reads instead where it is there.
pub const UEFI_BCD: &str = "Boot/BCD-uefi";

/// A WinPE's folder relative to the TFTP root: empty for the default one, otherwise ending in `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WinPe {
    path: Box<str>,
    /// Whether it has a BCD for UEFI, as far as has been looked.
    has_uefi_bcd: bool,
}

/// The rules for WinPE paths.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The folder that the TFTP server serves.
    pub tftp_root: &'a Path,
    /// The loaders that each WinPE provides.
    pub loaders: &'a Loaders,
}

/// Why a path cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WinPeError {
    /// Not UTF-8.
    #[error("the WinPE path is not text (UTF-8); set winpepath again")]
    NotText,
    /// A newline, tab, escape or the like.
    #[error("the WinPE path has a control character; set winpepath again without it")]
    Control,
    /// Absolute, and not below the TFTP root.
    #[error(
        "the WinPE path {path} is outside the TFTP root {root}; \
         move the WinPE into it, or set winpepath relative to it"
    )]
    Outside {
        /// The path as configured.
        path: String,
        /// The TFTP root.
        root: String,
    },
    /// Contains a `..`.
    #[error("the WinPE path {0} has a '..'; set winpepath to the folder's plain path")]
    Parent(String),
    /// Begins with a drive letter, as on Windows.
    #[error(
        "the WinPE path {path} has a drive letter; \
         set winpepath relative to the TFTP root, such as {example}"
    )]
    Drive {
        /// The path as configured.
        path: String,
        /// What is most likely meant.
        example: String,
    },
    /// The file name of the longest loader would not fit into the BOOTP file field.
    #[error(
        "the WinPE path {path} makes {loader} a file name of {length} characters, \
         and a reply holds {FILE_TEXT}; rename the WinPE, {} shorter",
        .length - FILE_TEXT
    )]
    TooLong {
        /// The path as it would be served.
        path: String,
        /// The longest loader's path below it.
        loader: String,
        /// The length of the file name, in bytes.
        length: usize,
    },
}

impl WinPe {
    /// Parses a path of `winpepath`, which is relative to the TFTP root, or absolute and within it.
    /// Backslashes are slashes, as TFTP servers for Windows clients have it; double slashes, `./`, blanks
    /// around it and the `Boot` in the WinPE's folder are left out.
    ///
    /// # Errors
    /// If the path cannot be served: see [`WinPeError`]. A path that is too long for any of the
    /// loaders is refused, because the loader that a client needs is not known before it asks.
    pub fn parse(path: &[u8], rules: Rules<'_>) -> Result<Self, WinPeError> {
        let path = str::from_utf8(path).map_err(|_| WinPeError::NotText)?;
        if path.chars().any(char::is_control) {
            return Err(WinPeError::Control);
        }
        let path = path.trim_matches(' ');
        let separators = ['/', '\\'];
        let parts = || {
            let parts = path.split(separators);
            parts.filter(|part| !part.is_empty() && *part != ".")
        };
        if let Some(below) = below_drive(path) {
            let parts = below.split(separators).filter(|part| !part.is_empty());
            let example = parts.collect::<Vec<_>>().join("/");
            return Err(WinPeError::Drive {
                path: path.to_owned(),
                example: if example.is_empty() {
                    "winboot/x".to_owned()
                } else {
                    example
                },
            });
        }
        if parts().any(|part| part == "..") {
            return Err(WinPeError::Parent(path.to_owned()));
        }
        let mut parts: Vec<_> = parts().collect();
        if path.starts_with(separators) {
            let root: Vec<_> = names(rules.tftp_root).collect();
            if parts.starts_with(&root) {
                parts.drain(..root.len());
            } else if path.starts_with('/') {
                // To Windows, a leading backslash is where the TFTP root begins.
                return Err(WinPeError::Outside {
                    path: path.to_owned(),
                    root: rules.tftp_root.display().to_string(),
                });
            }
        }
        // Who names the folder with the loader means the WinPE that it is in, unless there is one of
        // this name.
        let is_winpe = || {
            let parts = parts.iter().chain(&["Boot"]);
            parts
                .fold(rules.tftp_root.to_owned(), |at, part| at.join(part))
                .is_dir()
        };
        if parts.last() == Some(&"Boot") && !is_winpe() {
            parts.pop();
        }
        let path: String = parts.iter().flat_map(|part| [part, "/"]).collect();
        // The BCD's path has a field of its own, of 255 bytes.
        let loader = rules.loaders.longest();
        let length = path.len() + loader.len();
        if length > FILE_TEXT {
            return Err(WinPeError::TooLong {
                path,
                loader: loader.to_owned(),
                length,
            });
        }
        Ok(Self {
            path: path.into(),
            has_uefi_bcd: false,
        })
    }

    /// The folder: empty for the default WinPE, otherwise ending in `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The file name of a loader, one of those that the path was parsed with: at most
    /// [`Bootp::FILE_TEXT`] bytes.
    pub fn loader(&self, loader: &str) -> String {
        format!("{}{loader}", self.path)
    }

    /// The file name of the BCD, for option 252: UEFI clients have one of their own in WinPEs in which
    /// it was there when the tables were made.
    pub fn bcd(&self, choice: &BcdChoice) -> String {
        let file = match choice {
            BcdChoice::Path(path) => path,
            BcdChoice::Firmware(Firmware::Uefi) if self.has_uefi_bcd => UEFI_BCD,
            BcdChoice::Firmware(_) => BCD,
        };
        format!("{}{file}", self.path)
    }

    /// The file names of the BCDs that these loaders read, each once.
    pub fn bcds(&self, loaders: &Loaders) -> Vec<String> {
        let mut files = Vec::new();
        for choice in loaders.bcds() {
            let file = self.bcd(choice);
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }

    /// The same, having looked below the TFTP root which BCDs it has.
    pub(super) fn looked_up(mut self, tftp_root: &Path) -> Self {
        let file = tftp_root.join(&*self.path).join(UEFI_BCD);
        self.has_uefi_bcd = file.is_file();
        self
    }
}

/// The WinPEs of a file, each once; the first is the default one.
#[derive(Debug)]
pub(crate) struct WinPes<'a> {
    pub(crate) list: Vec<WinPe>,
    rules: Rules<'a>,
    // A site has few WinPEs, so most records repeat a text that was parsed before.
    texts: HashMap<Box<[u8]>, usize>,
    indexes: HashMap<WinPe, usize>,
}

impl<'a> WinPes<'a> {
    pub(crate) fn new(rules: Rules<'a>) -> Self {
        Self {
            list: vec![WinPe::default().looked_up(rules.tftp_root)],
            rules,
            texts: HashMap::new(),
            indexes: HashMap::from([(WinPe::default(), 0)]),
        }
    }

    /// The index in the list of the WinPE that `path` denotes.
    pub(crate) fn index(&mut self, path: &[u8]) -> Result<usize, WinPeError> {
        if let Some(&index) = self.texts.get(path) {
            return Ok(index);
        }
        let winpe = WinPe::parse(path, self.rules)?;
        let next = self.list.len();
        let index = *self.indexes.entry(winpe).or_insert_with_key(|winpe| {
            self.list
                .push(winpe.clone().looked_up(self.rules.tftp_root));
            next
        });
        self.texts.insert(path.into(), index);
        Ok(index)
    }
}

/// The names that lead to a folder.
fn names(folder: &Path) -> impl Iterator<Item = &str> {
    folder.components().filter_map(|component| match component {
        // A path that is text has no other names.
        Component::Normal(name) => Some(name.to_str().unwrap_or("/")),
        _ => None,
    })
}

/// What follows the drive of Windows that a path begins with.
fn below_drive(path: &str) -> Option<&str> {
    let (drive, below) = path.split_once(':')?;
    matches!(drive.as_bytes(), [letter] if letter.is_ascii_alphabetic()).then_some(below)
}

#[cfg(test)]
impl<'a> Rules<'a> {
    /// The rules for this root and the default loaders, for tests.
    pub(crate) fn within(tftp_root: &'a Path) -> Self {
        use std::sync::LazyLock;
        static LOADERS: LazyLock<Loaders> = LazyLock::new(Loaders::default);
        Self {
            tftp_root,
            loaders: &LOADERS,
        }
    }
}

#[cfg(test)]
mod tests;
