//! Any bytes are a hosts file, read line by line.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/hosts.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::hosts(data));
