//! Any text is a noderange, or a fault that is shown where it is.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/noderange.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::noderange(data));
