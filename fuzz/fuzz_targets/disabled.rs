//! Any list of disabled nodes is read, and written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/disabled.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::disabled(data));
