//! Any bytes are a settings file, or a fault that is told with its place.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/settings.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::settings(data));
