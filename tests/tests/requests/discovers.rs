//! DISCOVERs: the XDP program leaves each as it is, and the core's offer to it is what an independent
//! reader expects: none that must not be made, and none missing.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use proxydhcp::tables::policy::Unknown;
use proxydhcp_common::frame::{Frame, Slice};
use proxydhcp_common::slow_path::offer::{Offering, offer};
use proxydhcp_lab::corpus::{Corpus, requests};
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::discover::{Discover, HARDWARE};
use proxydhcp_lab::{RequestFrame, SERVER_ADDRESS, SERVER_MAC, check_offer};

use super::agreement::{Pair, XDP_PASS, setting};

/// Those of machines with all pairs of a few MAC addresses and UUIDs, by themselves and by a relay.
fn machines() -> Vec<RequestFrame> {
    let relay = Ipv4Addr::new(10, 77, 200, 1);
    let mut machines = Vec::new();
    for mac in 0..5 {
        for uuid in [0, 2, 6, 7] {
            for request in requests(Ipv4Addr::new(10, 77, 16, 99)) {
                let mut discover = request.discover();
                discover.chaddr = [0; 16];
                discover.chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, mac]);
                if discover.option(97).is_some() {
                    let mut value = vec![0; 17];
                    value[16] = uuid;
                    discover.set_option(97, value);
                }
                let mut relayed = discover.clone();
                (relayed.source, relayed.giaddr) = (relay, relay);
                relayed.source_port = 67;
                relayed.destination = SERVER_ADDRESS;
                relayed
                    .options
                    .push((82, vec![1, 4, b'p', b'o', b'r', b't']));
                machines.extend([discover, relayed]);
            }
        }
    }
    machines
}

fn offered(frame: &[u8], pair: &Pair, to_all: bool) -> Option<Vec<u8>> {
    let mut buffer = [0x55; 4096];
    buffer[..frame.len()].copy_from_slice(frame);
    let mut slice = Slice::new(&mut buffer, frame.len())?;
    let offering = Offering {
        server: SERVER_ADDRESS.octets(),
        mac: SERVER_MAC,
        to_all,
    };
    offer(&mut slice, &pair.tables, &offering, false).ok()?;
    slice.bytes(0, slice.len()).map(<[u8]>::to_vec)
}

/// Checks one frame. Returns whether an offer was made.
fn check(frame: &[u8], pair: &mut Pair, to_all: bool) -> Result<bool> {
    pair.check(frame)?;
    if Datagram::parse(frame).is_ok_and(|it| it.destination_port == 67) {
        let kernel = pair.in_kernel(frame)?;
        ensure!(
            kernel.action == XDP_PASS && kernel.bytes == frame,
            "{kernel:?}"
        );
    }
    let offer = offered(frame, pair, to_all);
    let described = || format!("frame {frame:02x?}\noffer {offer:02x?}");
    match (Discover::read(frame), &offer) {
        (Err(why), Some(_)) => {
            Err(why.context("an offer that nobody may make")).with_context(described)?;
        }
        (Ok(discover), Some(offer)) => {
            ensure!(
                discover.is_due(to_all),
                "an offer to a stranger: {}",
                described()
            );
            check_offer(frame, offer).with_context(described)?;
        }
        (Ok(discover), None) if discover.is_plain => {
            ensure!(!discover.is_due(to_all), "no offer: {}", described());
        }
        (_, None) => {}
    }
    Ok(offer.is_some())
}

#[test]
fn each_gets_the_offer_that_it_is_due() -> Result<()> {
    for (unknown, to_all) in [(Unknown::Ignore, false), (Unknown::Default, true)] {
        let mut pair = Pair::knowing(unknown, HARDWARE)?;
        let mut offers = 0;
        let machines = machines();
        for machine in &machines {
            offers += usize::from(check(&machine.bytes(), &mut pair, to_all)?);
        }
        assert!(
            offers > machines.len() / 2 && offers < machines.len(),
            "{offers}"
        );
        pair.check_counts()?;
    }
    Ok(())
}

#[test]
fn on_random_discovers() -> Result<()> {
    let cases = setting("PROXYDHCP_CASES", 20_000)?;
    let seed = setting("PROXYDHCP_SEED", 1)?;
    for (unknown, to_all) in [(Unknown::Ignore, false), (Unknown::Default, true)] {
        let mut pair = Pair::knowing(unknown, HARDWARE)?;
        let mut corpus = Corpus::of(seed, machines());
        let mut offers = 0;
        for case in 0..cases / 2 {
            let made = check(&corpus.frame(), &mut pair, to_all);
            offers += u64::from(made.with_context(|| format!("case {case} of seed {seed}"))?);
        }
        println!(
            "{} cases of seed {seed}, to all: {to_all}: {offers} offers",
            cases / 2
        );
        assert!(offers > cases / 20, "{offers}");
        pair.check_counts()?;
    }
    Ok(())
}
