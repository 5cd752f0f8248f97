//! The fast and the full judgement over frames of every kind: real requests, requests with some
//! bytes changed, requests cut short, and noise.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test helpers, and what proptest makes"
)]

use std::net::Ipv4Addr;

use proptest::prelude::*;
use proptest::sample::Index;
use proxydhcp_common::checksum::Sum;
use proxydhcp_common::frame::{Frame, Slice};
use proxydhcp_common::headers::{self, Packet};
use proxydhcp_common::judge::{Tables, judge};
use proxydhcp_common::nodes::{Header, Line, LoaderNumbers, Target, flags};
use proxydhcp_common::template::{Loader, MAX_BODY, Template};
use proxydhcp_common::verdict::{Reason, Stop};
use proxydhcp_common::{reply, slow_path};
use proxydhcp_lab::corpus::{mend_checksums, requests};
use proxydhcp_lab::{Checksum, RequestFrame, SERVER_ADDRESS};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The loaders' numbers.
const BIOS: u8 = 0;
const UEFI: u8 = 1;

/// One node, one host address, and templates that can be told apart.
struct Fixture {
    lines: [Line; 2],
    templates: Vec<Template>,
}

impl Fixture {
    fn new() -> Self {
        let mut bucket = Line::default();
        for (slot, (address, target)) in
            [(SERVER_ADDRESS, Target::HOST), (CLIENT, Target::node(0, 0))]
                .into_iter()
                .enumerate()
        {
            bucket.keys[slot] = u32::from_ne_bytes(address.octets());
            bucket.targets[slot] = target.stored();
        }
        Self {
            lines: [header(), bucket],
            templates: [BIOS, UEFI]
                .into_iter()
                .flat_map(|loader| [template(loader, false), template(loader, true)])
                .collect(),
        }
    }
}

/// One bucket; the architectures that there is a loader for; what requests have is echoed.
fn header() -> Line {
    let mut loaders = LoaderNumbers::default();
    loaders.set(0, Loader(BIOS));
    loaders.set(7, Loader(UEFI));
    loaders.set(9, Loader(UEFI));
    let header = Header {
        mask: 0,
        unknown: 0,
        seed: 1,
        loaders,
        loader_count: 2,
        flags: flags::ECHOES,
        interval: 0,
        whole: 0,
        winpe_bits: Target::BITS,
        hardware_bits: 0,
        reserved: [0; 2],
        host: [0; 4],
        hardware_seed: 0,
    };
    header.line()
}

/// As userspace encodes it: cookie, 53, 54, 60, 97 if asked for, and the end.
fn template(loader: u8, uuid: bool) -> Template {
    let mut body = [0; MAX_BODY];
    body[64] = b'0' + loader;
    let mut options = vec![99, 130, 83, 99, 53, 1, 5, 54, 4, 0, 0, 0, 0, 60, 9];
    options.extend(b"PXEClient");
    if uuid {
        options.extend([97, 17]);
        options.extend([0; 17]);
    }
    options.push(255);
    body[192..][..options.len()].copy_from_slice(&options);
    Template {
        siaddr: [0; 4],
        len: 256 + 8 * u16::from(loader),
        sum: Sum::default().bytes(&body).fold(),
        body,
    }
}

impl Tables for Fixture {
    type Lines = [Line];

    fn nodes(&self) -> Option<&[Line]> {
        Some(&self.lines)
    }

    fn template(&self, _bank: u32, number: u32) -> Option<&Template> {
        self.templates.get(number as usize)
    }
}

/// What is not found at all is left alone too.
fn found(frame: &Slice<'_>) -> Result<Packet, Stop> {
    headers::find(frame).ok_or(Stop::NotOurs)
}

/// The reply of the fast path, or its verdict.
fn fast(frame: &[u8], tables: &Fixture) -> Result<Vec<u8>, Stop> {
    let mut buffer = [0; 4096];
    buffer[..frame.len()].copy_from_slice(frame);
    let mut slice = Slice::new(&mut buffer, frame.len()).unwrap();
    let answer = judge(&slice, &found(&slice)?, tables)?;
    reply::write(&mut slice, &answer).unwrap();
    Ok(slice.all().to_vec())
}

/// The reply of the full judgement, or its verdict.
fn full(frame: &[u8], tables: &Fixture, vouched: bool) -> Result<Vec<u8>, Stop> {
    let mut buffer = [0; 4096];
    buffer[..frame.len()].copy_from_slice(frame);
    let mut slice = Slice::new(&mut buffer, frame.len()).unwrap();
    let found = found(&slice)?;
    let answer = slow_path::judge(&mut slice, &found, tables, MAC, vouched)?;
    slow_path::write(&mut slice, &answer).unwrap();
    Ok(slice.all().to_vec())
}

/// What must hold for every frame there is.
fn check(frame: &[u8], tables: &Fixture) -> Result<(), TestCaseError> {
    let full = full(frame, tables, false);
    prop_assert_ne!(&full, &Err(Stop::SlowPath));
    match fast(frame, tables) {
        // It may leave a frame to the full judgement, but never say anything else than that.
        Err(Stop::SlowPath) => {}
        verdict => prop_assert_eq!(&verdict, &full),
    }
    if let Ok(reply) = full {
        check_reply(frame, &reply)?;
    }
    Ok(())
}

/// A reply goes where its request came from, checks out, and is not a request itself.
fn check_reply(request: &[u8], reply: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(&reply[..6], &request[6..12]);
    let ip = match [reply[12], reply[13], reply[16], reply[17]] {
        [8, 0, ..] => 14,
        [_, _, 8, 0] => 18,
        _ => 22,
    };
    let total = usize::from(u16::from_be_bytes([reply[ip + 2], reply[ip + 3]]));
    prop_assert_eq!(reply.len(), ip + total);
    prop_assert!(Sum::default().bytes(&reply[ip..ip + 20]).is_right());
    prop_assert!(
        Sum::default()
            .bytes(&reply[ip + 12..])
            .number(17)
            .number(total as u16 - 20)
            .is_right()
    );
    prop_assert_eq!(reply[ip + 28], 2);
    let mut buffer = reply.to_vec();
    let len = buffer.len();
    let slice = Slice::new(&mut buffer, len).unwrap();
    let tables = Fixture::new();
    let verdict = found(&slice).and_then(|found| judge(&slice, &found, &tables).map(|_| ()));
    prop_assert!(verdict.is_err());
    prop_assert_eq!(slice.len(), len);
    Ok(())
}

#[test]
fn every_request_is_answered() {
    let tables = Fixture::new();
    for request in requests(CLIENT) {
        let frame = request.bytes();
        let reply = full(&frame, &tables, false).unwrap();
        check(&frame, &tables).unwrap();
        check_reply(&frame, &reply).unwrap();
    }
}

#[test]
fn a_checksum_that_is_not_made_yet_is_the_kernel_s_to_vouch_for() {
    let tables = Fixture::new();
    let mut request = RequestFrame::edk2(CLIENT, 7);
    let right = fast(&request.bytes(), &tables).unwrap();
    request.udp_checksum = Checksum::Unfinished;
    let frame = request.bytes();
    assert_eq!(fast(&frame, &tables), Err(Stop::SlowPath));
    assert_eq!(
        full(&frame, &tables, false),
        Err(Stop::Refuse(Reason::Checksum))
    );
    assert_eq!(full(&frame, &tables, true).as_ref(), Ok(&right));
}

#[test]
fn a_reply_that_does_not_fit_leaves_the_request_whole() {
    let tables = Fixture::new();
    let frame = RequestFrame::wdsmgfw(CLIENT, 7).bytes();
    let mut buffer = frame.clone();
    let mut slice = Slice::new(&mut buffer, frame.len()).unwrap();
    let mut answer = judge(&slice, &found(&slice).unwrap(), &tables).unwrap();
    let long = Template {
        len: MAX_BODY as u16,
        ..template(UEFI, true)
    };
    answer.template = &long;
    assert_eq!(reply::write(&mut slice, &answer), Err(reply::Fault::NoRoom));
    assert_eq!(slice.all(), frame);
}

proptest! {
    // Miri takes its time.
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 4000 }))]

    #[test]
    fn changed_bytes(
        request in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        mend in proptest::bool::weighted(0.8),
    ) {
        let mut frame = request.get(&requests(CLIENT)).bytes();
        for (at, value) in changes {
            *at.get_mut(&mut frame) = value;
        }
        if mend {
            mend_checksums(&mut frame);
        }
        check(&frame, &Fixture::new())?;
    }

    #[test]
    fn changed_options(
        request in any::<Index>(),
        options in proptest::collection::vec(
            (
                prop_oneof![Just(0u8), Just(43), Just(52), Just(53), Just(60), Just(93), Just(97), Just(255), any::<u8>()],
                proptest::collection::vec(any::<u8>(), 0..24),
            ),
            0..30,
        ),
        at in any::<Index>(),
        tail in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut request = request.get(&requests(CLIENT)).clone();
        let at = at.index(request.options.len() + 1);
        request.options.splice(at..at, options);
        request.tail = tail;
        check(&request.bytes(), &Fixture::new())?;
    }

    #[test]
    fn cut_short(request in any::<Index>(), len in any::<Index>(), mend in any::<bool>()) {
        let mut frame = request.get(&requests(CLIENT)).bytes();
        frame.truncate(len.index(frame.len()));
        if mend {
            mend_checksums(&mut frame);
        }
        check(&frame, &Fixture::new())?;
    }

    #[test]
    fn noise(
        head in any::<bool>(),
        noise in proptest::collection::vec(any::<u8>(), 0..1600),
    ) {
        let mut frame = noise;
        if head {
            // Behind headers that lead to this project at all.
            let request = RequestFrame::edk2(CLIENT, 7).bytes();
            let len = frame.len().min(42);
            frame[..len].copy_from_slice(&request[..len]);
            mend_checksums(&mut frame);
        }
        check(&frame, &Fixture::new())?;
    }
}
