//! Any packet to the TFTP server is a request that can be served, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/tftp.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::tftp(data));
