//! Where the workspace is.

use std::path::{Path, PathBuf};

/// The folder of the workspace, without symbolic links, because rustc resolves them in the paths that it
/// records.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap_or(root)
}
