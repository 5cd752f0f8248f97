//! What holds for any frame that may be a DISCOVER.

use std::sync::LazyLock;

use proxydhcp::tables::generation::Generation;
use proxydhcp::tables::policy::{Policy, Unknown};
use proxydhcp_common::frame::{Frame, Slice};
use proxydhcp_common::slow_path::offer::{Offering, offer as make};
use proxydhcp_lab::discover::{Discover, HARDWARE};
use proxydhcp_lab::{RequestFrame, SERVER_ADDRESS, SERVER_MAC, check_offer};

#[allow(clippy::duplicate_mod, reason = "each target is a crate of its own")]
#[path = "golden.rs"]
mod golden;
#[allow(clippy::duplicate_mod, reason = "each target is a crate of its own")]
#[path = "frame/mend.rs"]
mod mend;

/// The longest frame that is tried.
const LONGEST: usize = 1600;
/// Room for the longest offer, or the longest frame.
const ROOM: usize = 2048;
/// Ethernet, IPv4, UDP, and BOOTP up to the magic cookie.
const HEADERS: usize = 14 + 20 + 8 + 240;

/// The golden nodes, some of which are known by hardware addresses; for nodes alone, and for all.
static TABLES: LazyLock<[Generation; 2]> = LazyLock::new(|| {
    let table = golden::table(Some(HARDWARE));
    [Unknown::Ignore, Unknown::Default].map(|unknown| {
        let policy = Policy {
            unknown,
            ..Policy::default()
        };
        Generation::next(&Generation::default(), &table, &[SERVER_ADDRESS], &policy)
            .expect("the golden files can be served")
    })
});

/// The headers of a node's DISCOVER, for a fuzzer that is to think about options only.
static DISCOVER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut discover = RequestFrame::edk2(SERVER_ADDRESS, 7).discover();
    discover.chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    discover.bytes()[..HEADERS].to_vec()
});

/// Makes an offer to a frame, if it is to have one. The first byte says how, and the frame follows:
///
/// | bits | |
/// |---|---|
/// | 0 | clients without a record get offers, too |
/// | 3 | lengths are put right |
/// | 4 | checksums are put right |
/// | 5 | there is no UDP checksum |
/// | 6 | what follows is the options of an ordinary DISCOVER alone; bits 3 and 4 are taken as set |
///
/// # Panics
/// Where something does not hold.
pub(crate) fn offer(data: &[u8]) {
    let Some((&control, rest)) = data.split_first() else {
        return;
    };
    let is = |bit| control & bit != 0;
    let headers: &[u8] = if is(64) { &DISCOVER } else { &[] };
    let mut frame = [headers, &rest[..rest.len().min(LONGEST)]].concat();
    mend::mend(&mut frame, is(8 | 64), is(16 | 64), is(32));
    check(&frame, is(1));
}

/// The offer, made in a buffer of this length that is filled with this byte.
fn made(frame: &[u8], to_all: bool, room: usize, fill: u8) -> Option<Vec<u8>> {
    let offering = Offering {
        server: SERVER_ADDRESS.octets(),
        mac: SERVER_MAC,
        to_all,
    };
    let mut buffer = vec![fill; room];
    buffer[..frame.len()].copy_from_slice(frame);
    let mut slice = Slice::new(&mut buffer, frame.len()).expect("it has room");
    make(&mut slice, &TABLES[usize::from(to_all)], &offering, false).ok()?;
    let len = slice.len();
    buffer.truncate(len);
    Some(buffer)
}

fn check(frame: &[u8], to_all: bool) {
    let offer = made(frame, to_all, ROOM, 0);
    match (Discover::read(frame), &offer) {
        (Ok(discover), Some(offer)) => {
            assert!(discover.is_due(to_all), "a stranger");
            check_offer(frame, offer).expect("an offer is as it must be");
            // Nothing that was in the buffer shows, and nobody answers an offer.
            assert_eq!(made(frame, to_all, ROOM, 0x55).as_ref(), Some(offer));
            assert_eq!(made(offer, to_all, ROOM, 0), None);
        }
        (Ok(discover), None) => assert!(!discover.is_plain || !discover.is_due(to_all)),
        (Err(why), Some(_)) => panic!("an offer that nobody may make: {why:#}"),
        (Err(_), None) => {}
    }
    // A buffer that it does not fit into is no reason to make another.
    let tight = made(frame, to_all, frame.len(), 0);
    assert!(tight.is_none() || tight == offer);
}
