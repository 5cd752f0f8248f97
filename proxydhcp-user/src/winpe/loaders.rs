//! The boot loader that the clients of each architecture are sent to, and the BCD that it reads, below
//! their WinPE's folder.

use std::collections::BTreeMap;

use proxydhcp_common::nodes::ARCHITECTURES;
use proxydhcp_common::wire::Bootp;

use crate::winpe::bcd::network::Firmware;

const FILE_TEXT: usize = Bootp::FILE_TEXT;

/// The maximum number of different loaders.
pub const MAX_PATHS: usize = 8;

/// The loaders that apply unless the settings name others.
const DEFAULTS: [(u16, &str); 3] = [
    (0, "Boot/pxeboot.0"),
    (7, "Boot/bootmgfw.efi"),
    (9, "Boot/bootmgfw.efi"),
];

/// The loaders: the different paths, and the one for each architecture. The same loader is there once
/// for each BCD that it is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaders {
    paths: Vec<String>,
    /// The BCD of each of them.
    bcds: Vec<BcdChoice>,
    indexes: [Option<u8>; ARCHITECTURES],
}

/// Which BCD of a WinPE a loader reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BcdChoice {
    /// The one for this firmware, among those that the WinPE has.
    Firmware(Firmware),
    /// The one at this path below the WinPE's folder.
    Path(String),
}

/// A deviation from the defaults for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    architecture: u16,
    /// `None` removes the loader.
    path: Option<String>,
}

/// What is wrong with the loaders in the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoaderError {
    /// The key is not a number, or is too large.
    #[error(
        "{0:?} is not an architecture: [loaders] and [bcd] take the numbers 0 to {last}; \
         other keys stand above them",
        last = ARCHITECTURES - 1
    )]
    Architecture(String),
    /// The path begins with a slash or a backslash.
    #[error("{0:?} is absolute; write its path below the WinPE's folder")]
    Absolute(String),
    /// Two slashes follow each other, or the path ends with one.
    #[error("{0:?} has an empty component; write single slashes, and none at its end")]
    Empty(String),
    /// The path contains a `..`.
    #[error("{0:?} has a '..'; write its plain path below the WinPE's folder")]
    Parent(String),
    /// The path contains a newline, tab, escape or the like.
    #[error("{0:?} has a control character; write it without")]
    Control(String),
    /// It would not fit into the BOOTP file field, even for the default WinPE.
    #[error("the path has {0} characters, and a reply holds {FILE_TEXT}; shorten its path")]
    TooLong(usize),
    /// The same number is written in two ways, such as 7 and 07.
    #[error("architecture {0} is given twice; leave one of the two out")]
    Twice(u16),
    /// The path of a BCD is empty.
    #[error(
        "architecture {0} has no BCD; write its path below the WinPE's folder, such as Boot/BCD"
    )]
    NoBcd(u16),
    /// There are more than [`MAX_PATHS`] different loaders.
    #[error(
        "there are {0} different loaders, or BCDs for them, and {MAX_PATHS} are the limit; \
         give those that no client needs an empty path, 0 = \"\" say"
    )]
    TooMany(usize),
}

impl Change {
    /// Parses an entry of the settings: `architecture`, a number, and the path of its loader, which
    /// is empty if its clients should be refused.
    ///
    /// # Errors
    ///
    /// If the number or the path is wrong: see [`LoaderError`].
    pub fn parse(architecture: &str, path: &str) -> Result<Self, LoaderError> {
        let number = architecture
            .parse()
            .ok()
            .filter(|&at: &u16| usize::from(at) < ARCHITECTURES);
        Ok(Self {
            architecture: number
                .ok_or_else(|| LoaderError::Architecture(architecture.to_owned()))?,
            path: (!path.is_empty()).then(|| sound(path)).transpose()?,
        })
    }
}

impl Loaders {
    /// The defaults with `changes` applied.
    ///
    /// # Errors
    ///
    /// If an architecture occurs twice ([`LoaderError::Twice`]), or there are too many loaders
    /// ([`LoaderError::TooMany`]).
    pub fn with(changes: &[Change]) -> Result<Self, LoaderError> {
        Self::with_bcds(changes, &[])
    }

    /// The defaults with changes of the loaders, and of the BCDs that they read, applied.
    ///
    /// # Errors
    ///
    /// Those of [`Self::with`], or if a BCD has an empty path ([`LoaderError::NoBcd`]).
    pub fn with_bcds(changes: &[Change], bcds: &[Change]) -> Result<Self, LoaderError> {
        let changed = by_architecture(changes)?;
        let bcd_of = by_architecture(bcds)?;
        if let Some((architecture, _)) = bcd_of.iter().find(|(_, path)| path.is_none()) {
            return Err(LoaderError::NoBcd(*architecture));
        }
        let mut all = BTreeMap::from(DEFAULTS.map(|(at, path)| (at, Some(path))));
        all.extend(changed);

        let mut pairs: Vec<(&str, BcdChoice)> = Vec::new();
        let mut indexes = [None; ARCHITECTURES];
        for (architecture, path) in all {
            let Some(path) = path else { continue };
            let bcd = bcd_of.get(&architecture).copied().flatten();
            let bcd = bcd.map_or_else(
                || BcdChoice::Firmware(Firmware::of_architecture(architecture.into())),
                |path| BcdChoice::Path(path.to_owned()),
            );
            let pair = (path, bcd);
            let index = pairs.iter().position(|known| *known == pair);
            let index = index.unwrap_or_else(|| {
                pairs.push(pair);
                pairs.len() - 1
            });
            if let Some(at) = indexes.get_mut(usize::from(architecture)) {
                *at = u8::try_from(index).ok();
            }
        }
        if pairs.len() > MAX_PATHS {
            return Err(LoaderError::TooMany(pairs.len()));
        }
        let pairs = pairs.into_iter().map(|(path, bcd)| (path.to_owned(), bcd));
        let (paths, bcds) = pairs.unzip();
        Ok(Self {
            paths,
            bcds,
            indexes,
        })
    }

    /// The different paths, ordered by the lowest architecture that uses them: at most
    /// [`MAX_PATHS`], each relative and at most [`Bootp::FILE_TEXT`] bytes long.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The BCDs that the loaders read, in the order of [`Self::paths`].
    pub fn bcds(&self) -> &[BcdChoice] {
        &self.bcds
    }

    /// The longest path: a WinPE's folder must leave room for it.
    pub fn longest(&self) -> &str {
        let longest = self.paths.iter().max_by_key(|path| path.len());
        longest.map_or("", String::as_str)
    }

    /// The different paths, each with the architectures whose clients are sent to it, the lowest first,
    /// and its BCD.
    pub fn each(&self) -> impl Iterator<Item = (Vec<usize>, &str, &BcdChoice)> {
        let pairs = self.paths.iter().zip(&self.bcds);
        (0_u8..).zip(pairs).map(|(index, (path, bcd))| {
            let all = self.indexes.iter().enumerate();
            let sent = all.filter(|(_, at)| **at == Some(index));
            (sent.map(|(of, _)| of).collect(), path.as_str(), bcd)
        })
    }

    /// For each architecture, by its number, the index of its path in [`Self::paths`].
    pub fn indexes(&self) -> &[Option<u8>; ARCHITECTURES] {
        &self.indexes
    }
}

impl Default for Loaders {
    fn default() -> Self {
        let none = || Self {
            paths: Vec::new(),
            bcds: Vec::new(),
            indexes: [None; ARCHITECTURES],
        };
        // The defaults have neither duplicates nor too many paths, so this cannot fail.
        Self::with(&[]).unwrap_or_else(|_| none())
    }
}

/// The paths of the changes, by architecture.
fn by_architecture(changes: &[Change]) -> Result<BTreeMap<u16, Option<&str>>, LoaderError> {
    let mut changed = BTreeMap::new();
    for Change { architecture, path } in changes {
        if changed.insert(*architecture, path.as_deref()).is_some() {
            return Err(LoaderError::Twice(*architecture));
        }
    }
    Ok(changed)
}

/// The path in canonical form, if clients can be sent to it.
fn sound(path: &str) -> Result<String, LoaderError> {
    let path = path.to_owned();
    // TFTP servers for Windows clients map backslashes to slashes, so both are separators.
    let mut components = path.split(['/', '\\']);
    if path.chars().any(char::is_control) {
        Err(LoaderError::Control(path))
    } else if path.starts_with(['/', '\\']) {
        Err(LoaderError::Absolute(path))
    } else if components.clone().any(|component| component == "..") {
        Err(LoaderError::Parent(path))
    } else if components.any(str::is_empty) {
        Err(LoaderError::Empty(path))
    } else if path.len() > FILE_TEXT {
        Err(LoaderError::TooLong(path.len()))
    } else {
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(changes: &[(&str, &str)]) -> Result<Loaders, LoaderError> {
        let parse = |(architecture, path): &(&str, &str)| Change::parse(architecture, path);
        let changes: Result<Vec<_>, _> = changes.iter().map(parse).collect();
        Loaders::with(&changes?)
    }

    /// The architectures that have a loader, with its path.
    fn all(loaders: &Loaders) -> Vec<(usize, &str)> {
        let path = |index: u8| loaders.paths()[usize::from(index)].as_str();
        let indexes = loaders.indexes().iter().enumerate();
        indexes
            .filter_map(|(at, index)| Some((at, path((*index)?))))
            .collect()
    }

    #[test]
    fn the_defaults_are_bios_and_uefi_x64() {
        let loaders = Loaders::default();
        assert_eq!(loaders.paths(), ["Boot/pxeboot.0", "Boot/bootmgfw.efi"]);
        assert_eq!(
            all(&loaders),
            [
                (0, "Boot/pxeboot.0"),
                (7, "Boot/bootmgfw.efi"),
                (9, "Boot/bootmgfw.efi"),
            ]
        );
        assert_eq!(with(&[]), Ok(loaders));
    }

    #[test]
    fn changes_add_to_the_defaults_override_them_and_switch_them_off() {
        let loaders = with(&[
            ("47", "a"),
            ("11", "Boot/bootaa64.efi"),
            ("00009", "Boot/ä b.efi"),
            ("0", ""),
            ("16", ""),
        ])
        .unwrap();
        assert_eq!(
            all(&loaders),
            [
                (7, "Boot/bootmgfw.efi"),
                (9, "Boot/ä b.efi"),
                (11, "Boot/bootaa64.efi"),
                (47, "a"),
            ]
        );
        // Paths that no architecture uses are dropped.
        assert_eq!(loaders.paths().len(), 4);
        let none = with(&[("0", ""), ("7", ""), ("9", "")]).unwrap();
        assert_eq!((all(&none), none.paths().len()), (vec![], 0));
    }

    #[test]
    fn a_loader_is_there_once_for_each_bcd_that_it_reads() {
        let change = |architecture, path| Change::parse(architecture, path).unwrap();
        let firmware = |firmware| BcdChoice::Firmware(firmware);
        let defaults = Loaders::default();
        let expected = [firmware(Firmware::Bios), firmware(Firmware::Uefi)];
        assert_eq!(defaults.bcds(), expected);
        let loaders = Loaders::with_bcds(&[], &[change("9", "Boot/BCD-9")]).unwrap();
        let [bios, uefi] = expected;
        let own = BcdChoice::Path("Boot/BCD-9".to_owned());
        assert_eq!(loaders.bcds(), [bios, uefi, own]);
        let paths = ["Boot/pxeboot.0", "Boot/bootmgfw.efi", "Boot/bootmgfw.efi"];
        assert_eq!(loaders.paths(), paths);
        let indexes = [0, 7, 9].map(|at| loaders.indexes()[at]);
        assert_eq!(indexes, [Some(0), Some(1), Some(2)]);
        let empty = Loaders::with_bcds(&[], &[change("7", "")]);
        assert_eq!(empty, Err(LoaderError::NoBcd(7)));
    }

    #[test]
    fn what_is_no_architecture_is_refused() {
        for key in ["48", "65536", "-1", "", "uefi", "hosts"] {
            let error = with(&[(key, "a")]).unwrap_err();
            assert_eq!(error, LoaderError::Architecture(key.to_owned()));
        }
        assert_eq!(with(&[("7", "a"), ("07", "a")]), Err(LoaderError::Twice(7)));
    }

    #[test]
    fn what_is_no_path_below_the_folder_is_refused() {
        type Fault = fn(String) -> LoaderError;
        let cases: &[(&str, Fault)] = &[
            ("/Boot/a.efi", LoaderError::Absolute),
            ("/", LoaderError::Absolute),
            (r"\Boot\a.efi", LoaderError::Absolute),
            ("Boot//a.efi", LoaderError::Empty),
            ("Boot/", LoaderError::Empty),
            ("..", LoaderError::Parent),
            ("Boot/../a.efi", LoaderError::Parent),
            (r"Boot\..\a.efi", LoaderError::Parent),
            ("Boot/a\n.efi", LoaderError::Control),
            ("Boot/\u{1b}[2J", LoaderError::Control),
            ("Boot/\0", LoaderError::Control),
        ];
        for (path, fault) in cases {
            assert_eq!(with(&[("7", path)]), Err(fault((*path).to_owned())));
        }
        assert!(with(&[("7", "Boot/..a/b..efi")]).is_ok());
        assert!(with(&[("7", &"x".repeat(127))]).is_ok());
        let long = with(&[("7", &"x".repeat(128))]);
        assert_eq!(long, Err(LoaderError::TooLong(128)));
    }

    #[test]
    fn eight_different_loaders_are_the_limit() {
        let keys: Vec<String> = (20..=26).map(|at: u16| at.to_string()).collect();
        let seven: Vec<_> = keys
            .iter()
            .map(|key| (key.as_str(), key.as_str()))
            .collect();
        // Together with the two defaults.
        assert_eq!(with(&seven), Err(LoaderError::TooMany(9)));
        assert!(with(&seven[..6]).is_ok());
        // Only different ones in use count, in any order.
        assert!(with(&[&seven[..], &[("0", "")]].concat()).is_ok());
        let same: Vec<_> = keys.iter().map(|key| (key.as_str(), "same")).collect();
        assert_eq!(with(&same).unwrap().paths().len(), 3);
    }
}
