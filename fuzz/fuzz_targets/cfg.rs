//! Any bytes are a `proxydhcp.cfg`, whose sound records are served, kept and written again as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/cfg.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::cfg(data));
