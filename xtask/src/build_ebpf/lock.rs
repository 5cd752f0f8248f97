//! The lock file, which records what the committed object was built from, and with which tools.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The crates that are compiled into the object.
const CRATES: [&str; 2] = ["proxydhcp-common", "proxydhcp-ebpf"];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Lock {
    /// The hash of the sources, see [`hash_sources`].
    pub(super) sources: String,
    /// SHA-256 of the object.
    pub(super) object: String,
    /// The version of the compiler and of its LLVM.
    pub(super) rustc: String,
    pub(super) bpf_linker: String,
    /// The versions of the libraries, see [`crates`].
    pub(super) crates: BTreeMap<String, String>,
}

impl Lock {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("reading {}: run cargo xtask build-ebpf", path.display()))?;
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = format!(
            "# Written by `cargo xtask build-ebpf`.\n{}",
            toml::to_string(self)?
        );
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Describes how the toolchain differs from that of `then`; empty if it does not.
    pub(super) fn toolchain_differences(&self, then: &Self) -> String {
        [
            ("rustc", &self.rustc, &then.rustc),
            ("bpf-linker", &self.bpf_linker, &then.bpf_linker),
        ]
        .into_iter()
        .filter(|(_, now, then)| now != then)
        .map(|(what, now, then)| format!("{what} is {now} here, and was {then}"))
        .collect::<Vec<_>>()
        .join("; ")
    }
}

/// Hashes the manifest and everything below `src/` of each crate in the object.
///
/// The hash is the SHA-256 over all files in the order of their names: name, a zero byte, SHA-256
/// of the content. Names are relative to the workspace's root, so the hash depends neither on the
/// root's path nor on the order in which the file system lists files, and changes if a file moves.
pub(super) fn hash_sources(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for name in CRATES {
        files.push(root.join(name).join("Cargo.toml"));
        list(&root.join(name).join("src"), &mut files)?;
    }
    files.sort();

    let mut hash = Sha256::new();
    for file in files {
        let content = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        hash.update(file.strip_prefix(root)?.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(Sha256::digest(content));
    }
    Ok(hexadecimal(&hash.finalize()))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The versions in `Cargo.lock` of the libraries that are compiled into the object.
pub(super) fn crates(root: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct CargoLock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }

    let path = root.join("Cargo.lock");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let lock: CargoLock =
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    Ok(lock
        .package
        .into_iter()
        .filter(|package| {
            package.name.starts_with("aya-ebpf") || package.name.starts_with("aya-log-")
        })
        .map(|package| (package.name, package.version))
        .collect())
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn workspace(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        let manifests = CRATES.map(|name| (format!("{name}/Cargo.toml"), "[package]"));
        let manifests = manifests
            .iter()
            .map(|(name, content)| (name.as_str(), *content));
        for (name, content) in manifests.chain(files.iter().copied()) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn hash(files: &[(&str, &str)]) -> String {
        hash_sources(workspace(files).path()).unwrap()
    }

    const COMMON: (&str, &str) = ("proxydhcp-common/src/lib.rs", "//! Core.");
    const MAIN: (&str, &str) = ("proxydhcp-ebpf/src/main.rs", "fn main() {}");

    #[test]
    fn neither_place_nor_order_counts() {
        assert_eq!(hash(&[COMMON, MAIN]), hash(&[MAIN, COMMON]));
    }

    #[test]
    fn content_names_and_number_of_files_count() {
        let plain = hash(&[COMMON, MAIN]);
        let changed = [
            hash(&[COMMON, (MAIN.0, "fn main() { }")]),
            hash(&[COMMON, ("proxydhcp-ebpf/src/bin.rs", MAIN.1)]),
            hash(&[COMMON, MAIN, ("proxydhcp-ebpf/src/maps/nodes.rs", "")]),
            hash(&[COMMON, MAIN, ("proxydhcp-ebpf/Cargo.toml", "[package] ")]),
            hash(&[(COMMON.0, MAIN.1), (MAIN.0, COMMON.1)]),
        ];
        for other in changed {
            assert_ne!(plain, other);
        }
    }

    #[test]
    fn files_beside_the_sources_do_not_count() {
        let plain = hash(&[COMMON, MAIN]);
        assert_eq!(
            plain,
            hash(&[COMMON, MAIN, ("proxydhcp-common/tests/fuzz.rs", "x")])
        );
    }

    #[test]
    fn the_object_s_libraries_are_found_in_cargo_s_lock_file() {
        let lock = r#"
            version = 4
            [[package]]
            name = "aya"
            version = "0.14.0"
            [[package]]
            name = "aya-ebpf"
            version = "0.2.1"
            [[package]]
            name = "aya-log-ebpf"
            version = "0.2.0"
        "#;
        let root = workspace(&[("Cargo.lock", lock)]);
        let found = crates(root.path()).unwrap();
        assert_eq!(
            found.into_keys().collect::<Vec<_>>(),
            ["aya-ebpf", "aya-log-ebpf"]
        );
    }

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let lock = Lock {
            sources: sha256(b"sources"),
            object: sha256(b"object"),
            rustc: "1.96.0 (ac68faa20 2026-05-25), LLVM 22.1.8".to_owned(),
            bpf_linker: "0.10.4".to_owned(),
            crates: [("aya-ebpf".to_owned(), "0.2.1".to_owned())].into(),
        };
        let root = TempDir::new().unwrap();
        let path = root.path().join("lock");
        lock.write(&path).unwrap();
        assert_eq!(lock, Lock::read(&path).unwrap());
    }
}
