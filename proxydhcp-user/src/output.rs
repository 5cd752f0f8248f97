//! What commands print.

use std::io::{Write, stdout};

/// Prints text with one newline at its end. Whoever reads it may have read enough: a closed pipe is
/// no error.
pub fn print(text: &str) {
    let _ = writeln!(stdout(), "{}", text.trim_end());
}
