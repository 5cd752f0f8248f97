//! Any bytes are a registry hive that may be a BCD, which is read in bounded time and memory.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/bcd.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::bcd(data));
