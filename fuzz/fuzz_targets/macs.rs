//! Any file of hardware addresses is read, or the line that is left out is named.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/macs.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::macs(data));
