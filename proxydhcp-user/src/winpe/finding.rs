//! Problems with the files of a WinPE.

use serde::Serialize;

/// A problem with a WinPE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file or folder, below the TFTP root.
    pub file: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}
