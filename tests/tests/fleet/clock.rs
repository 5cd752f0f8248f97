//! The clock of a service node jumps, by libfaketime. That of etcd cannot be had to jump so: Go asks the
//! kernel itself what time it is.

use std::fs;

use anyhow::Result;
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::site::NODE_A;
use tempfile::TempDir;

use crate::segment::Segment;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

#[test]
fn a_clock_that_jumps_costs_no_answer_and_no_update() -> Result<()> {
    ensure_installed("faketime", "faketime")?;
    let folder = TempDir::new()?;
    let clock = folder.path().join("clock");
    let shown = clock.display().to_string();
    let jump = |by: &str| fs::write(&clock, by);
    jump("+0")?;
    let mut segment = Segment::new(1)?;
    segment.push_usual()?;
    let environment = [
        ("LD_PRELOAD", LIBRARY),
        ("FAKETIME_TIMESTAMP_FILE", shown.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        // A clock that is set leaves the monotonic one as it is.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let place = segment.serve_among(&[], &environment)?;
    segment.serve(&[])?;

    // By less than the certificate allows: nothing is to be seen of it.
    for (number, by) in ["+1d", "+0", "+20d", "+1d"].into_iter().enumerate() {
        jump(by)?;
        segment.ask(place, NODE_A, &before(number))?;
        let winpe = format!("winboot/{number}");
        segment.set("a", &winpe)?;
        segment.ask(place, NODE_A, &format!("{winpe}/"))?;
        segment.wait_for_status("all 2 service nodes serve it")?;
    }

    // Before the certificate, and years after it: no new connection is made, and answers go on.
    for by in ["-400d", "+9y"] {
        jump(by)?;
        segment.etcd.kill_all()?;
        segment.etcd.start_again()?;
        segment.wait_until(place, |source| {
            source["why"]
                .as_str()
                .is_some_and(|why| why.contains("certificate"))
        })?;
        segment.ask(place, NODE_A, "winboot/3/")?;
        let said = segment.status(place, &[])?;
        assert_eq!(said.code, Some(2), "{said:?}");
        let newest = segment.write("a", "winboot/4")?;
        segment.wait_until(1, |source| source["revision"] == newest)?;
        let ended = segment.ended(&["fleet", "status"])?;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        segment.ask(place, NODE_A, "winboot/3/")?;

        jump("+0")?;
        segment.wait_until(place, |source| {
            source["revision"] == newest && source["stale_since"].is_null()
        })?;
        segment.ask(place, NODE_A, "winboot/4/")?;
        segment.wait_for_status("all 2 service nodes serve it")?;
        segment.set("a", "winboot/3")?;
    }
    Ok(())
}

fn before(number: usize) -> String {
    match number.checked_sub(1) {
        Some(number) => format!("winboot/{number}/"),
        None => "winboot/a/".to_owned(),
    }
}
