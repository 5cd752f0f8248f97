//! A DISCOVER gets the offer that it is due, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/offer.rs"]
mod check;

fuzz_target!(|data: &[u8]| check::offer(data));
