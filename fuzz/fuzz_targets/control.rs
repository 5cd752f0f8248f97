//! Any line is a request or a reply of the control socket, or rejected.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/control.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::control(data));
