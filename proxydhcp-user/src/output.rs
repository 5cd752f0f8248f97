//! What commands print.

use std::io::Write;

/// Prints text with one newline at its end. Whoever reads it may have read enough: a closed pipe is
/// no error. Colours come to a terminal only, and never with `NO_COLOR`.
pub fn print(text: &str) {
    let _ = writeln!(anstream::stdout(), "{}", text.trim_end());
}
