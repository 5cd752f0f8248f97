//! A WinPE's place below the TFTP root, and the files there that a client is sent to.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
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
    ///
    /// # Errors
    /// If the path cannot be served: see [`WinPeError`]. A path that is too long for any of the
    /// loaders is refused, because the loader that a client needs is not known before it asks.
    pub fn parse(path: &[u8], rules: Rules<'_>) -> Result<Self, WinPeError> {
        let path = str::from_utf8(path).map_err(|_| WinPeError::NotText)?;
        if path.chars().any(char::is_control) {
            return Err(WinPeError::Control);
        }
        // TFTP servers for Windows clients map backslashes to slashes, so both are separators.
        if path.split(['/', '\\']).any(|component| component == "..") {
            return Err(WinPeError::Parent(path.to_owned()));
        }
        let relative = if path.starts_with('/') {
            below(path, rules.tftp_root).ok_or_else(|| WinPeError::Outside {
                path: path.to_owned(),
                root: rules.tftp_root.display().to_string(),
            })?
        } else {
            path
        };
        let slash = if relative.is_empty() || relative.ends_with('/') {
            ""
        } else {
            "/"
        };
        let path = format!("{relative}{slash}");
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
    texts: HashMap<&'a [u8], usize>,
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
    pub(crate) fn index(&mut self, path: &'a [u8]) -> Result<usize, WinPeError> {
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
        self.texts.insert(path, index);
        Ok(index)
    }
}

/// The part of the absolute `path` below `root`, compared component by component.
fn below<'a>(path: &'a str, root: &Path) -> Option<&'a str> {
    let mut rest = path;
    for component in root.components() {
        if let Component::Normal(component) = component {
            rest = without_slashes(rest);
            let (head, tail) = rest.split_once('/').unwrap_or((rest, ""));
            if OsStr::from_bytes(head.as_bytes()) != component {
                return None;
            }
            rest = tail;
        }
    }
    Some(without_slashes(rest))
}

fn without_slashes(path: &str) -> &str {
    path.trim_start_matches('/')
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(path: &str) -> Result<WinPe, WinPeError> {
        WinPe::parse(path.as_bytes(), Rules::within(Path::new("/tftpboot")))
    }

    #[test]
    fn the_default_winpe_is_the_root() {
        for path in ["", "/tftpboot", "/tftpboot/", "//tftpboot//"] {
            let winpe = parse(path).unwrap();
            assert_eq!(winpe, WinPe::default());
            assert_eq!(winpe.loader("Boot/pxeboot.0"), "Boot/pxeboot.0");
            assert_eq!(winpe.loader("Boot/bootmgfw.efi"), "Boot/bootmgfw.efi");
            assert_eq!(winpe.bcds(&Loaders::default()), ["Boot/BCD"]);
        }
    }

    #[test]
    fn uefi_reads_its_own_bcd_where_there_is_one() {
        let root = tempfile::tempdir().unwrap();
        let rules = Rules::within(root.path());
        let bcds = |path: &'static str| {
            let mut winpes = WinPes::new(rules);
            let index = winpes.index(path.as_bytes()).unwrap();
            winpes.list[index].bcds(rules.loaders)
        };
        for (path, folder) in [("winboot/x", "winboot/x/"), ("", "")] {
            let boot = root.path().join(folder).join("Boot");
            std::fs::create_dir_all(&boot).unwrap();
            assert_eq!(bcds(path), [format!("{folder}Boot/BCD")]);
            std::fs::write(boot.join("BCD-uefi"), "").unwrap();
            let both = ["BCD", "BCD-uefi"].map(|file| format!("{folder}Boot/{file}"));
            assert_eq!(bcds(path), both);
        }
    }

    #[test]
    fn relative_and_absolute_paths_mean_the_same() {
        let paths = [
            "winboot/x",
            "winboot/x/",
            "/tftpboot/winboot/x",
            "/tftpboot/winboot/x/",
            "//tftpboot//winboot/x",
        ];
        for path in paths {
            let winpe = parse(path).unwrap();
            assert_eq!(winpe.path(), "winboot/x/");
            assert_eq!(winpe.loader("Boot/pxeboot.0"), "winboot/x/Boot/pxeboot.0");
            assert_eq!(
                winpe.loader("Boot/bootmgfw.efi"),
                "winboot/x/Boot/bootmgfw.efi"
            );
            assert_eq!(winpe.bcds(&Loaders::default()), ["winboot/x/Boot/BCD"]);
        }
    }

    #[test]
    fn the_root_may_be_deep_or_the_file_system_itself() {
        let deep = Path::new("/srv/tftp/");
        assert_eq!(
            WinPe::parse(b"/srv/tftp/w", Rules::within(deep))
                .unwrap()
                .path(),
            "w/"
        );
        assert!(WinPe::parse(b"/srv", Rules::within(deep)).is_err());
        assert!(WinPe::parse(b"/srv/w", Rules::within(deep)).is_err());
        assert_eq!(
            WinPe::parse(b"/w", Rules::within(Path::new("/")))
                .unwrap()
                .path(),
            "w/"
        );
    }

    #[test]
    fn absolute_paths_outside_the_root_are_refused() {
        for path in [
            "/",
            "/tftpbootx/winboot",
            "/tftp",
            "/etc/tftpboot",
            "/winboot/x",
        ] {
            let error = parse(path).unwrap_err();
            assert!(
                matches!(error, WinPeError::Outside { .. }),
                "{path}: {error}"
            );
            assert!(error.to_string().contains("/tftpboot"), "{error}");
        }
    }

    #[test]
    fn parent_components_are_refused_and_dots_in_names_are_not() {
        for path in [
            "..",
            "../x",
            "winboot/../x",
            "winboot/..",
            "/tftpboot/../etc",
            r"winboot\..\x",
        ] {
            assert_eq!(parse(path), Err(WinPeError::Parent(path.to_owned())));
        }
        assert_eq!(parse("winboot/..x/y..").unwrap().path(), "winboot/..x/y../");
    }

    #[test]
    fn what_is_not_printable_text_is_refused() {
        assert_eq!(parse("winboot/\nx"), Err(WinPeError::Control));
        assert_eq!(parse("winboot/\u{85}x"), Err(WinPeError::Control));
        assert_eq!(
            WinPe::parse(b"winboot/\xff", Rules::within(Path::new("/tftpboot"))),
            Err(WinPeError::NotText)
        );
        assert_eq!(parse("winboot/ä b").unwrap().path(), "winboot/ä b/");
    }

    #[test]
    fn the_longest_loader_decides_how_long_a_path_may_be() {
        let longest = parse(&"x".repeat(109)).unwrap();
        assert_eq!(longest.loader("Boot/bootmgfw.efi").len(), 127);
        let error = parse(&format!("{}/", "x".repeat(110))).unwrap_err();
        assert!(
            matches!(error, WinPeError::TooLong { length: 128, .. }),
            "{error}"
        );
        assert!(error.to_string().ends_with("1 shorter"), "{error}");
        assert!(matches!(
            parse(&"x".repeat(110)),
            Err(WinPeError::TooLong { length: 128, .. })
        ));
        assert!(matches!(
            parse(&"x".repeat(150)),
            Err(WinPeError::TooLong { length: 168, .. })
        ));
        // Only the part that is sent counts.
        let root = format!("/{}", "r".repeat(120));
        assert_eq!(
            WinPe::parse(
                format!("{root}/x").as_bytes(),
                Rules::within(Path::new(&root))
            )
            .unwrap()
            .path(),
            "x/"
        );
    }

    proptest! {
        #[test]
        fn any_accepted_path_fits_its_replies(path in "(/tftpboot)?[ -~]{0,150}") {
            if let Ok(winpe) = parse(&path) {
                prop_assert!(winpe.path().is_empty() || winpe.path().ends_with('/'));
                prop_assert!(!winpe.path().starts_with('/'));
                prop_assert!(winpe.loader("Boot/bootmgfw.efi").len() <= FILE_TEXT);
                prop_assert!(winpe.loader("Boot/pxeboot.0").len() <= FILE_TEXT);
            }
        }
    }
}
