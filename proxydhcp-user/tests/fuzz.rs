//! The checks of the fuzz targets, on the inputs that fuzzers have found worth keeping: in every test
//! run, without a fuzzer.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a check fails by what they say"
)]

use std::fs;
use std::path::Path;

#[path = "../../fuzz/checks/bcd.rs"]
mod bcd;
#[path = "../../fuzz/checks/cfg.rs"]
mod cfg;
#[path = "../../fuzz/checks/control.rs"]
mod control;
#[path = "../../fuzz/checks/disabled.rs"]
mod disabled;
#[path = "../../fuzz/checks/fleet.rs"]
mod fleet;
#[path = "../../fuzz/checks/frame.rs"]
mod frame;
#[path = "../../fuzz/checks/groups.rs"]
mod groups;
#[path = "../../fuzz/checks/hosts.rs"]
mod hosts;
#[path = "../../fuzz/checks/import.rs"]
mod import;
#[path = "../../fuzz/checks/macs.rs"]
mod macs;
#[path = "../../fuzz/checks/noderange.rs"]
mod noderange;
#[path = "../../fuzz/checks/offer.rs"]
mod offer;
#[path = "../../fuzz/checks/settings.rs"]
mod settings;
#[path = "../../fuzz/checks/tftp.rs"]
mod tftp;

/// Checks each input of the target's corpus. A failure tells which it was.
fn each_input(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut tried = 0;
    for entry in fs::read_dir(corpus.join(target)).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
        tried += 1;
    }
    assert!(tried > 20, "{tried} inputs");
}

#[test]
fn bcd_inputs() {
    each_input("bcd", bcd::bcd);
}

#[test]
fn cfg_inputs() {
    each_input("cfg", cfg::cfg);
}

#[test]
fn control_inputs() {
    each_input("control", control::control);
}

#[test]
fn fleet_inputs() {
    each_input("fleet", fleet::fleet);
}

#[test]
fn frame_inputs() {
    each_input("frame", frame::frame);
}

#[test]
fn hosts_inputs() {
    each_input("hosts", hosts::hosts);
}

#[test]
fn noderange_inputs() {
    each_input("noderange", noderange::noderange);
}

#[test]
fn offer_inputs() {
    each_input("offer", offer::offer);
}

#[test]
fn settings_inputs() {
    each_input("settings", settings::settings);
}

#[test]
fn disabled_inputs() {
    each_input("disabled", disabled::disabled);
}

#[test]
fn groups_inputs() {
    each_input("groups", groups::groups);
}

#[test]
fn import_inputs() {
    each_input("import", import::import);
}

#[test]
fn macs_inputs() {
    each_input("macs", macs::macs);
}

#[test]
fn tftp_inputs() {
    each_input("tftp", tftp::tftp);
}
