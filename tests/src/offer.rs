//! Judging a proxy offer against the DISCOVER that it answers.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use dhcproto::v4::borrowed::Message;
use dhcproto::v4::{MessageType, Opcode};

use crate::datagram::Datagram;
use crate::frame::COOKIE;
use crate::lab::SERVER_ADDRESS;
use crate::reply::{at, hex, joined, read_leniently, read_strictly, same};

const SHORTEST_MESSAGE: usize = 300;
/// Option 82 may be as long as an option can be.
const LONGEST_MESSAGE: usize = 576;
const RELAY: u8 = 82;

/// Checks every rule that an offer of the lab's server must keep for all known clients and relays to
/// accept it, and for no client to take it for a lease (PXE 2.1, section 2.2.3; RFC 2131, table 3; RFC
/// 3046).
///
/// # Errors
/// Names the first rule that is broken.
pub fn check_offer(discover: &[u8], offer: &[u8]) -> Result<()> {
    let asked = Datagram::parse(discover).context("the DISCOVER")?;
    let offered = Datagram::parse(offer).context("the offer")?;
    let relay = Message::new(asked.payload)
        .context("the DISCOVER is too short")?
        .giaddr();
    let relay = Some(relay).filter(|relay| !relay.is_unspecified());
    check_addressing(&asked, &offered, relay).context("the offer's addressing")?;
    check_fields(asked.payload, offered.payload, relay).context("the offer's fixed fields")?;
    check_options(asked.payload, offered.payload, relay).context("the offer's options")
}

fn check_addressing(asked: &Datagram, offered: &Datagram, relay: Option<Ipv4Addr>) -> Result<()> {
    let (mac, to) = match relay {
        Some(relay) => (asked.source_mac, (relay, 67)),
        None => ([0xff; 6], (Ipv4Addr::BROADCAST, 68)),
    };
    same("destination MAC", offered.destination_mac, mac)?;
    let [first, ..] = offered.source_mac;
    ensure!(first & 1 == 0, "source MAC is a group address");
    same("VLAN tags", &offered.vlan_tags, &asked.vlan_tags)?;
    same("IP header length", offered.ip_header.len(), 20)?;
    let ttl = offered.ip_header.get(8).copied().unwrap_or(0);
    ensure!(ttl >= 64, "a TTL of {ttl} may not reach a routed relay");
    same(
        "source",
        (offered.source, offered.source_port),
        (SERVER_ADDRESS, 67),
    )?;
    same(
        "destination",
        (offered.destination, offered.destination_port),
        to,
    )?;
    ensure!(
        offered.trailer.is_empty(),
        "{} bytes after the packet",
        offered.trailer.len()
    );
    offered.verify_checksums()
}

fn check_fields(discover: &[u8], offered: &[u8], relay: Option<Ipv4Addr>) -> Result<()> {
    let length = offered.len();
    ensure!(
        (SHORTEST_MESSAGE..=LONGEST_MESSAGE).contains(&length),
        "{length} bytes, not {SHORTEST_MESSAGE} to {LONGEST_MESSAGE}"
    );
    let asked = Message::new(discover)?;
    let offer = Message::new(offered)?;
    same("op", offer.opcode(), Opcode::BootReply)?;
    same("htype", offer.htype(), asked.htype())?;
    same("hlen", offer.hlen(), asked.hlen())?;
    same("hops", offer.hops(), 0)?;
    same("xid", offer.xid(), asked.xid())?;
    same("secs", offer.secs(), 0)?;
    same("flags", u16::from(offer.flags()), u16::from(asked.flags()))?;
    same("ciaddr", offer.ciaddr(), Ipv4Addr::UNSPECIFIED)?;
    same("yiaddr", offer.yiaddr(), Ipv4Addr::UNSPECIFIED)?;
    same("siaddr", offer.siaddr(), SERVER_ADDRESS)?;
    same(
        "giaddr",
        offer.giaddr(),
        relay.unwrap_or(Ipv4Addr::UNSPECIFIED),
    )?;
    same("chaddr", at(offered, 28, 16)?, at(discover, 28, 16)?)?;
    ensure!(
        at(offered, 44, 192)?.iter().all(|byte| *byte == 0),
        "sname or file is not all zeros"
    );
    same("magic cookie", at(offered, 236, 4)?, COOKIE.as_slice())
}

fn check_options(discover: &[u8], offered: &[u8], relay: Option<Ipv4Addr>) -> Result<()> {
    let mut wanted: Vec<(u8, Vec<u8>)> = vec![
        (53, vec![u8::from(MessageType::Offer)]),
        (54, SERVER_ADDRESS.octets().to_vec()),
        (60, b"PXEClient".to_vec()),
    ];
    let uuid = read_leniently(discover, 97);
    if uuid.len() == 17 && uuid.first() == Some(&0) {
        wanted.push((97, uuid));
    }
    let relayed = joined(&[discover.get(240..).unwrap_or_default()], RELAY);
    if relay.is_some() && (1..=255).contains(&relayed.len()) {
        // The last one (RFC 3046, section 2.1).
        wanted.push((RELAY, relayed));
    }
    let options = read_strictly(offered)?;
    let shown = |(code, value): (u8, &[u8])| format!("{code}={}", hex(value));
    let got: Vec<String> = options.into_iter().map(shown).collect();
    let wanted = wanted.iter().map(|(code, value)| shown((*code, value)));
    same("all options", got, wanted.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestFrame;
    use crate::architecture::UEFI_X64;

    fn discover() -> RequestFrame {
        let mut discover = RequestFrame::edk2(Ipv4Addr::new(10, 77, 1, 1), UEFI_X64).discover();
        discover.giaddr = Ipv4Addr::new(10, 77, 9, 9);
        discover.source = discover.giaddr;
        discover.options.push((RELAY, vec![1, 2, 3, 4]));
        discover
    }

    fn offer(discover: &RequestFrame) -> RequestFrame {
        let mut offer = discover.clone();
        (offer.destination_mac, offer.source_mac) = (discover.source_mac, [2, 0, 0, 0, 0, 0xfe]);
        (offer.source, offer.destination) = (SERVER_ADDRESS, discover.giaddr);
        (offer.source_port, offer.destination_port) = (67, 67);
        offer.op = 2;
        offer.siaddr = SERVER_ADDRESS;
        let uuid = discover.option(97).map(<[u8]>::to_vec);
        offer.options = vec![
            (53, vec![2]),
            (54, SERVER_ADDRESS.octets().to_vec()),
            (60, b"PXEClient".to_vec()),
        ];
        offer.options.extend(uuid.map(|uuid| (97, uuid)));
        offer.options.push((RELAY, vec![1, 2, 3, 4]));
        offer.minimum_length = 300;
        offer
    }

    /// What to look for in the fault, and what brings it about.
    type Case = (&'static str, fn(&mut RequestFrame));

    #[test]
    fn each_broken_rule_is_named() {
        let discover = discover();
        let judge = |offer: &RequestFrame| match check_offer(&discover.bytes(), &offer.bytes()) {
            Ok(()) => String::new(),
            Err(fault) => format!("{fault:#}"),
        };
        assert_eq!(judge(&offer(&discover)), "");
        let cases: &[Case] = &[
            ("destination", |it| it.destination_port = 68),
            ("source", |it| it.source_port = 4011),
            ("yiaddr", |it| it.yiaddr = Ipv4Addr::new(10, 77, 1, 1)),
            ("siaddr", |it| it.siaddr = Ipv4Addr::UNSPECIFIED),
            ("sname or file", |it| it.file[3] = 1),
            ("options", |it| it.options.insert(2, (51, vec![0, 0, 1, 0]))),
            ("options", |it| it.options.swap(3, 4)),
            ("UDP checksum", |it| {
                it.udp_checksum = crate::Checksum::Wrong;
            }),
        ];
        for (rule, breaks) in cases {
            let mut broken = offer(&discover);
            breaks(&mut broken);
            assert!(judge(&broken).contains(rule), "{rule}: {}", judge(&broken));
        }
    }
}
