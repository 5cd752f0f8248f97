//! The crates that the program is built of.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::binary::cargo;
use crate::workspace::root;

/// A crate.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Crate {
    id: String,
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression.
    pub(super) license: Option<String>,
    pub(super) source: Option<String>,
    manifest_path: PathBuf,
    /// SHA-256 of its archive, as in Cargo.lock.
    #[serde(skip)]
    pub(super) checksum: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Those of others, by name and version.
pub(super) fn of_program() -> Result<Vec<Crate>> {
    let mut command = cargo();
    command.args(["metadata", "--format-version=1", "--locked"]);
    command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let program = metadata
        .packages
        .iter()
        .find(|package| package.name == "proxydhcp-user")
        .context("cargo knows no proxydhcp-user")?;
    let reached = reached(&program.id, &metadata.resolve.nodes);
    let lock: Lock = toml::from_str(&fs::read_to_string(root().join("Cargo.lock"))?)?;
    let of_others = |package: &&Crate| package.source.is_some() && reached.contains(&*package.id);
    let with_checksum = |package: &Crate| {
        let is_it =
            |locked: &&Locked| (&locked.name, &locked.version) == (&package.name, &package.version);
        let locked = lock.package.iter().find(is_it);
        let mut package = package.clone();
        package.checksum = locked.and_then(|locked| locked.checksum.clone());
        package
    };
    let packages = metadata.packages.iter().filter(of_others);
    let mut crates: Vec<_> = packages.map(with_checksum).collect();
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(crates)
}

/// What is linked in, directly or not: neither macros' builds nor tests' dependencies are told apart
/// from it, since a macro's licence may be that of the code it writes.
fn reached<'a>(program: &'a str, nodes: &'a [Node]) -> BTreeSet<&'a str> {
    let nodes: HashMap<&str, &Node> = nodes.iter().map(|node| (&*node.id, node)).collect();
    let mut reached = BTreeSet::new();
    let mut left = vec![program];
    while let Some(id) = left.pop() {
        if reached.insert(id) {
            let linked = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            let linked = linked
                .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            left.extend(linked.map(|dependency| &*dependency.pkg));
        }
    }
    reached
}

impl Crate {
    /// The texts of its licences and its notices, each with the file's name, in order.
    pub(super) fn texts(&self) -> Result<Vec<(String, String)>> {
        let folder = self
            .manifest_path
            .parent()
            .context("a crate without a folder")?;
        let mut texts = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let upper = name.to_uppercase();
            let begins = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];
            if path.is_file() && begins.iter().any(|begin| upper.starts_with(begin)) {
                texts.push((name, String::from_utf8_lossy(&fs::read(path)?).into_owned()));
            }
        }
        texts.sort();
        Ok(texts)
    }
}
