//! Any CSV file is imported as it says, or the line that is wrong is named.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/import.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::import(data));
