//! The checksums of the packages.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use sha2::{Digest, Sha256};

/// Writes `SHA256SUMS`, which `sha256sum --check` reads.
pub(super) fn write(files: &[PathBuf], out: &Path) -> Result<PathBuf> {
    let mut text = String::new();
    for file in files {
        let hash = Sha256::digest(fs::read(file)?);
        for byte in hash {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(text, "  {name}");
    }
    let path = out.join("SHA256SUMS");
    fs::write(&path, text)?;
    Ok(path)
}
