//! Any frame is answered as it should be, or not at all.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/frame.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::frame(data));
