//! Any groups file is read, or the line that is wrong is named.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/groups.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::groups(data));
