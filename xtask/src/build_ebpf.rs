//! Builds the eBPF object that is committed beside its loader, and detects when it is outdated.
//!
//! The object is committed so that everything else needs only stable Rust. It must therefore be
//! what its sources produce: a lock file beside it holds hashes of both, the tests compare them,
//! and `--check` also rebuilds the object and compares the bytes.

mod compile;
mod lock;
mod toolchain;

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::workspace::root;

use lock::Lock;

const OBJECT: &str = "proxydhcp-user/ebpf/proxydhcp.bpf.o";
const LOCK: &str = "proxydhcp-user/ebpf/proxydhcp.bpf.lock";

/// Builds the object and installs it with its lock file; with `check`, compares instead.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = root();
    if check {
        step("comparing sources, object and lock file");
        drift()?;
    }

    let locked = Lock::read(&root.join(LOCK));
    let toolchain = toolchain::rustc(locked.as_ref().ok().map(|lock| lock.rustc.as_str()))?;
    let linker = toolchain::linker(&root)?;
    let built = compile::object(&root, &toolchain, &linker)?;

    let now = Lock {
        sources: lock::hash_sources(&root)?,
        object: lock::sha256(&built),
        rustc: toolchain.version,
        bpf_linker: toolchain::LINKER_VERSION.to_owned(),
        crates: lock::crates(&root)?,
    };
    if check {
        return compare(&now, &locked?);
    }
    let object = root.join(OBJECT);
    let folder = object.parent().unwrap_or(&root);
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::write(&object, &built).with_context(|| format!("writing {}", object.display()))?;
    now.write(&root.join(LOCK))?;
    step(&format!(
        "{OBJECT}: {} bytes, sha256 {}",
        built.len(),
        now.object
    ));
    Ok(())
}

/// Fails if the committed object was not built from its sources. This needs no BPF toolchain.
pub(crate) fn drift() -> Result<()> {
    let root = root();
    let lock = Lock::read(&root.join(LOCK))?;
    ensure!(
        lock.sources == lock::hash_sources(&root)? && lock.crates == lock::crates(&root)?,
        "sources changed since the object was built: run cargo xtask build-ebpf"
    );
    let object = fs::read(root.join(OBJECT)).with_context(|| format!("reading {OBJECT}"))?;
    ensure!(
        lock.object == lock::sha256(&object),
        "{OBJECT} is not the object that {LOCK} describes: run cargo xtask build-ebpf"
    );
    Ok(())
}

/// Compares a rebuilt object with the committed one, as far as the toolchains allow.
fn compare(now: &Lock, then: &Lock) -> Result<()> {
    let differences = now.toolchain_differences(then);
    if differences.is_empty() {
        ensure!(
            now.object == then.object,
            "the same sources and toolchain give another object (sha256 {}): \
             run cargo xtask build-ebpf",
            now.object
        );
        step("the rebuilt object is the committed one, byte for byte");
    } else {
        step(&format!(
            "the object builds; its bytes were NOT compared: {differences}"
        ));
    }
    Ok(())
}

fn step(what: &str) {
    eprintln!("build-ebpf: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_matches_its_sources() {
        drift().unwrap();
    }

    #[test]
    fn only_the_same_toolchain_must_give_the_same_bytes() {
        let then = Lock {
            sources: lock::sha256(b"sources"),
            object: lock::sha256(b"object"),
            rustc: "1.96.0".to_owned(),
            bpf_linker: "0.10.4".to_owned(),
            crates: [("aya-ebpf".to_owned(), "0.2.1".to_owned())].into(),
        };
        assert!(compare(&then, &then).is_ok());

        let other = Lock {
            object: lock::sha256(b"other"),
            ..then.clone()
        };
        assert!(compare(&other, &then).is_err());

        let newer = Lock {
            rustc: "1.96.1".to_owned(),
            ..other
        };
        assert!(compare(&newer, &then).is_ok());
        assert_eq!(
            newer.toolchain_differences(&then),
            "rustc is 1.96.1 here, and was 1.96.0"
        );
    }
}
