//! Any bytes come from etcd: as a line of a watch, and as a node's name and value.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/fleet.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::fleet(data));
