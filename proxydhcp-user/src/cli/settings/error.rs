//! Errors in a settings file.

use std::path::PathBuf;

use crate::sys::file::FileError;
use crate::winpe::loaders::LoaderError;

/// Why a settings file is not used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no such file.
    #[error("{}: no such file; check --settings", .0.display())]
    Missing(PathBuf),
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Two of its keys contradict each other.
    #[error("{}: {why}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// Which, and the remedy.
        why: &'static str,
    },
    /// It names no interface, and has to.
    #[error(
        "{}: no interface is named; add a line such as interface = [\"eth1\"]; the interfaces of this host \
         are: {there}",
        path.display()
    )]
    NoInterface {
        /// The file.
        path: PathBuf,
        /// The interfaces that there are.
        there: String,
    },
    /// Something in it is wrong.
    #[error("{}:{line}:{column}: {fault}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
        /// What is wrong there.
        fault: Fault,
    },
}

/// What is wrong at a place in the file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Not UTF-8.
    #[error("this is not text (UTF-8); save the file as such")]
    NotText,
    /// Not TOML.
    #[error("{0}")]
    Syntax(String),
    /// No flag has this name.
    #[error("unknown key {key:?}{near}; the keys are {known}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that is probably meant, as a question; empty if there is none.
        near: String,
        /// All known keys.
        known: String,
    },
    /// The value has the wrong type, such as text instead of a list.
    #[error("{key} takes {takes}, and this is {found}")]
    Type {
        /// The key.
        key: String,
        /// What it takes.
        takes: &'static str,
        /// The type that was found instead.
        found: String,
    },
    /// The flag does not take this text.
    #[error("{key} does not take {value:?}: {reason}")]
    Value {
        /// The key.
        key: String,
        /// The text.
        value: String,
        /// What is wrong with it, and what is taken.
        reason: String,
    },
    /// An entry of the table `[loaders]` is wrong.
    #[error(transparent)]
    Loader(#[from] LoaderError),
}
