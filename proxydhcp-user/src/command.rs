//! The commands that work on `proxydhcp.cfg`. Data goes to stdout, messages to stderr; colours only
//! to a terminal, and never with `NO_COLOR`.

use std::io::Write;
use std::path::Path;

use crate::cfg::RECORD;
use crate::cfg::file::{self, FileError};

pub mod check;
pub mod detach;
pub mod dump;
pub mod import;
pub mod repair;

/// Prints a message to the people at the terminal.
fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// The file's bytes, even if they end within a record.
fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    file::read(path, |bytes| bytes.len().is_multiple_of(RECORD))
}

/// The number and the noun, which has an s in the plural.
fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
