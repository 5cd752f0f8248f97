//! The checksums of the packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use sha2::{Digest, Sha256};

/// Writes `SHA256SUMS`, which `sha256sum --check` reads.
pub(super) fn write(files: &[PathBuf], out: &Path) -> Result<PathBuf> {
    let mut text = String::new();
    for file in files {
        let hash = Sha256::digest(fs::read(file)?);
        let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        text += &format!("{digits}  {name}\n");
    }
    let path = out.join("SHA256SUMS");
    fs::write(&path, text)?;
    Ok(path)
}
