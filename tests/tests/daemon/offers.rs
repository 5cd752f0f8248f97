//! Offers to PXE clients beside DHCP servers that know nothing of them: `--offers`.
#![allow(clippy::indexing_slicing, reason = "a test fails by what it says")]

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, STRANGER, Site};
use proxydhcp_lab::{Ended, RequestFrame, SERVER_ADDRESS, SERVER_MAC};
use serde_json::json;

use crate::discover::{
    ALL, KNOWN, MAC_A, MAC_B, NOBODY, PATIENCE, discover, files, is_not_offered, next, offered,
    offers,
};

#[test]
fn a_whole_conversation_leads_to_the_nodes_own_winpe() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::start(datapath, files()?, &KNOWN)?;
        for (mac, winpe, architecture) in
            [(MAC_A, "winboot/a/", UEFI_X64), (MAC_B, "winboot/b/", BIOS)]
        {
            let discover = discover(mac, architecture);
            let offer = offered(&mut site, &discover)?;
            ensure!(offer.to == [0xff; 6] && offer.destination == (Ipv4Addr::BROADCAST, 68));
            let uuid = discover.options.iter().find(|(code, _)| *code == 97);
            ensure!(offer.option(97) == uuid.map(|(_, uuid)| uuid.as_slice()));

            // With whatever lease the client then has.
            let mut request = if architecture == BIOS {
                RequestFrame::legacy(STRANGER, architecture)
            } else {
                RequestFrame::edk2(STRANGER, architecture)
            };
            request.chaddr = discover.chaddr;
            let reply = site.ask(&request, winpe, architecture)?;
            ensure!(reply[42 + 20..42 + 24] == offer.bootp[20..24], "siaddr");
        }
        let offers = offers(&site)?;
        ensure!(
            (&offers["received"], &offers["answered"]) == (&json!(2), &json!(2)),
            "{offers}"
        );
    }
    Ok(())
}

#[test]
fn a_stranger_a_disabled_and_a_refused_node_get_no_offer() -> Result<()> {
    for datapath in [Datapath::Generic, Datapath::Raw] {
        for more in [&KNOWN[..], &ALL] {
            let files = files()?;
            files.write_config(&[("a", "winboot/a"), ("b", ".."), ("default", "")])?;
            fs::write(files.path("proxydhcp.cfg.disabled"), "a\n")?;
            let mut site = Site::start(datapath, files, more)?;
            for mac in [MAC_A, MAC_B] {
                is_not_offered(&mut site, &discover(mac, UEFI_X64))?;
            }
            let stranger = discover(NOBODY, UEFI_X64);
            if more.len() == KNOWN.len() {
                is_not_offered(&mut site, &stranger)?;
                ensure!(offers(&site)?["refused"] == json!({"unknown-client": 3}));
            } else {
                offered(&mut site, &stranger)?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_no_pxe_discover_is_left_alone() -> Result<()> {
    let mut site = Site::start(Datapath::Generic, files()?, &ALL)?;
    let mut ordinary = discover(MAC_A, UEFI_X64);
    ordinary
        .options
        .retain(|(code, _)| *code != 60 && *code != 93);
    let mut request = discover(MAC_A, UEFI_X64);
    request.set_option(53, [3]);
    let mut reply = discover(MAC_A, UEFI_X64);
    reply.op = 2;
    let mut no_architecture = discover(MAC_A, UEFI_X64);
    no_architecture.options.retain(|(code, _)| *code != 93);
    let mut http = discover(MAC_A, UEFI_X64);
    http.set_option(60, *b"HTTPClient:Arch:00016:UNDI:003001");
    let mut arm = discover(MAC_A, 11);
    arm.set_option(93, [0, 11]);
    for frame in [&ordinary, &request, &reply, &no_architecture, &http, &arm] {
        is_not_offered(&mut site, frame)?;
    }
    let offers = offers(&site)?;
    ensure!(
        (&offers["received"], &offers["http"]) == (&json!(2), &json!(1)),
        "{offers}"
    );
    ensure!(offers["refused"] == json!({"architecture": 2}), "{offers}");
    Ok(())
}

#[test]
fn ipxe_on_a_machine_without_a_record_is_left_alone() -> Result<()> {
    let mut site = Site::start(Datapath::Generic, files()?, &ALL)?;
    // A second stage that has a script of its own, and would be led to WinPE again and again.
    let mut ipxe = discover(NOBODY, BIOS);
    ipxe.set_option(77, *b"iPXE");
    ipxe.options.push((175, vec![1, 1, 1]));
    is_not_offered(&mut site, &ipxe)?;
    ensure!(offers(&site)?["ipxe"] == json!(1));
    // A node is to boot its WinPE whatever its network card has for firmware.
    let mut rom = discover(MAC_A, BIOS);
    rom.set_option(77, *b"iPXE");
    offered(&mut site, &rom)?;
    Ok(())
}

#[test]
fn the_boards_uuid_is_sent_back_only_where_it_is_one() -> Result<()> {
    let mut site = Site::start(Datapath::Generic, files()?, &KNOWN)?;
    let mut right = vec![0; 17];
    right[3] = 9;
    let mut of_another_type = right.clone();
    of_another_type[0] = 255;
    for sent in [
        None,
        Some(vec![]),
        Some(vec![0]),
        Some(vec![0; 16]),
        Some(right.clone()),
        Some(of_another_type),
        Some(vec![0; 18]),
        Some(vec![7; 32]),
    ] {
        for architecture in [BIOS, UEFI_X64] {
            let mut discover = discover(MAC_A, architecture);
            match &sent {
                Some(uuid) => discover.set_option(97, uuid.as_slice()),
                None => discover.remove_option(97),
            }
            let offer = offered(&mut site, &discover)?;
            let expected = sent.as_deref().filter(|uuid| **uuid == right);
            ensure!(offer.option(97) == expected, "{sent:?}: {offer:?}");
        }
    }
    Ok(())
}

#[test]
fn a_node_is_offered_its_boot_by_its_uuid_too() -> Result<()> {
    for datapath in [Datapath::Generic, Datapath::Raw] {
        let files = files()?;
        fs::write(
            files.path("proxydhcp.cfg.hardware"),
            "a uuid=0d0d0d0d-0d0d-0d0d-0d0d-0d0d0d0d0d0d\n",
        )?;
        let mut site = Site::start(datapath, files, &KNOWN)?;
        let mut by_uuid = discover(NOBODY, UEFI_X64);
        by_uuid.set_option(97, [&[0][..], &[0xd; 16]].concat());
        offered(&mut site, &by_uuid)?;
        is_not_offered(&mut site, &discover(NOBODY, UEFI_X64))?;
    }
    Ok(())
}

#[test]
fn an_offer_is_broadcast_to_clients_that_do_not_ask_for_that_either() -> Result<()> {
    let mut site = Site::start(Datapath::Generic, files()?, &KNOWN)?;
    let mut discover = discover(MAC_A, UEFI_X64);
    discover.flags = 0;
    let offer = offered(&mut site, &discover)?;
    // It has no address that it could be sent to.
    ensure!(offer.to == [0xff; 6] && offer.destination == (Ipv4Addr::BROADCAST, 68));
    Ok(())
}

#[test]
fn an_offer_leads_here_whatever_tftp_server_the_reply_names() -> Result<()> {
    for datapath in Datapath::ALL {
        let elsewhere = Ipv4Addr::new(10, 77, 0, 9);
        let more = ["--next-server", "10.77.0.9", "--offers", "known"];
        let mut site = Site::start(datapath, files()?, &more)?;
        // That has this host's address as siaddr and option 54.
        offered(&mut site, &discover(MAC_A, UEFI_X64))?;
        let mut request = RequestFrame::edk2(STRANGER, UEFI_X64);
        request.chaddr = discover(MAC_A, UEFI_X64).chaddr;
        let reply = site.tap.ask(&request)?;
        ensure!(reply[42 + 20..42 + 24] == elsewhere.octets(), "siaddr");
        let identifier = [&[54, 4][..], &SERVER_ADDRESS.octets()].concat();
        ensure!(reply.windows(6).any(|it| it == identifier), "{reply:02x?}");
    }
    Ok(())
}

#[test]
fn a_relay_gets_the_offer_with_its_own_option() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::start(datapath, files()?, &KNOWN)?;
        let relay = Ipv4Addr::new(10, 77, 200, 1);
        let mut relayed = discover(MAC_A, UEFI_X64);
        relayed.source_mac = [2, 0, 0, 0, 0, 0x77];
        relayed.destination_mac = SERVER_MAC;
        (relayed.source, relayed.destination) = (relay, SERVER_ADDRESS);
        relayed.source_port = 67;
        relayed.giaddr = relay;
        relayed.hops = 1;
        let circuit = vec![1, 4, b'p', b'o', b'r', b't'];
        relayed.options.push((82, circuit.clone()));
        let offer = offered(&mut site, &relayed)?;
        ensure!(
            offer.to == relayed.source_mac && offer.destination == (relay, 67),
            "{offer:?}"
        );
        ensure!(offer.options.last() == Some(&(82, circuit)), "{offer:?}");
        // Not for a client that says so itself.
        let mut direct = discover(MAC_A, UEFI_X64);
        direct.options.push((82, vec![1, 1, b'x']));
        ensure!(offered(&mut site, &direct)?.option(82).is_none());
    }
    Ok(())
}

#[test]
fn ten_thousand_at_once_all_get_their_offer() -> Result<()> {
    const CLIENTS: u32 = 10_000;
    for datapath in Datapath::ALL {
        let mut site = Site::start(datapath, files()?, &ALL)?;
        let discovers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let [_, _, high, low] = number.to_be_bytes();
                discover([0x52, 0x54, 1, 0, high, low], UEFI_X64).bytes()
            })
            .collect();
        let started = Instant::now();
        for frame in &discovers {
            site.tap.send(frame)?;
        }
        let mut seen = std::collections::HashSet::new();
        while seen.len() < CLIENTS as usize {
            let offer = next(&mut site, PATIENCE)?;
            let offer = offer.with_context(|| format!("{}: {}", seen.len(), site.describe()))?;
            seen.insert(offer.xid());
        }
        println!("{datapath:?}: {CLIENTS} offers in {:?}", started.elapsed());
    }
    Ok(())
}

#[test]
fn an_offer_may_wait() -> Result<()> {
    let mut site = Site::start(
        Datapath::Generic,
        files()?,
        &["--offers", "known", "--offer-delay", "300"],
    )?;
    let started = Instant::now();
    offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    ensure!(started.elapsed() >= Duration::from_millis(300));
    Ok(())
}

#[test]
fn offers_are_limited_by_the_clients_hardware_address() -> Result<()> {
    let files = files()?;
    files.write_settings("rate-limit = 1\nburst = 2\n")?;
    let mut site = Site::start(Datapath::Generic, files, &KNOWN)?;
    for _ in 0..2 {
        offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    }
    is_not_offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    offered(&mut site, &discover(MAC_B, UEFI_X64))?;
    ensure!(offers(&site)?["limited"] == json!(1));
    Ok(())
}

#[test]
fn relayed_offers_are_limited_by_the_relay_and_the_hardware_address() -> Result<()> {
    let files = files()?;
    files.write_settings("rate-limit = 1\nburst = 1\n")?;
    let mut site = Site::start(Datapath::Generic, files, &KNOWN)?;
    let relayed = |mac, last| {
        let relay = Ipv4Addr::new(10, 77, 200, last);
        let mut relayed = discover(mac, UEFI_X64);
        relayed.source_mac = [2, 0, 0, 0, 0, 0x77];
        relayed.destination_mac = SERVER_MAC;
        (relayed.source, relayed.destination) = (relay, SERVER_ADDRESS);
        relayed.source_port = 67;
        relayed.giaddr = relay;
        relayed
    };
    offered(&mut site, &relayed(MAC_A, 1))?;
    is_not_offered(&mut site, &relayed(MAC_A, 1))?;
    // Neither another client of the relay, nor the client by another way.
    offered(&mut site, &relayed(MAC_B, 1))?;
    offered(&mut site, &relayed(MAC_A, 2))?;
    offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    ensure!(offers(&site)?["limited"] == json!(1));
    Ok(())
}

#[test]
fn a_broadcast_request_of_a_node_is_answered_where_offers_are_made() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
        request.destination = Ipv4Addr::BROADCAST;
        request.destination_mac = [0xff; 6];
        let mut site = Site::start(datapath, files()?, &[])?;
        site.stays_silent(&request.bytes())?;
        drop(site);
        site = Site::start(datapath, files()?, &KNOWN)?;
        let reply = site.tap.ask(&request)?;
        ensure!(reply[26..30] == SERVER_ADDRESS.octets() && reply[30..34] == NODE_A.octets());
        ensure!(reply[42 + 108..].starts_with(b"winboot/a/"), "{reply:02x?}");
        // To the port that asked.
        ensure!(reply[36..38] == request.source_port.to_be_bytes());
    }
    Ok(())
}

#[test]
fn offers_are_off_unless_asked_for_and_all_needs_a_policy() -> Result<()> {
    let mut site = Site::start(Datapath::Generic, files()?, &[])?;
    is_not_offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    ensure!(site.status()?.pointer("/interfaces/0/offers").is_none());
    let all = site
        .daemon
        .proxydhcp(&site.lab.server, &["serve", "--check", "--offers", "all"])?;
    let all = Ended::from(all);
    ensure!(
        all.code != Some(0) && all.stderr.contains("set unknown = \"default\""),
        "{all:?}"
    );
    // Nobody could be offered anything.
    let site = Site::start(Datapath::Generic, Files::usual()?, &KNOWN)?;
    let status = site.command(&["status"])?.stdout;
    ensure!(status.contains("offers: no node gets one"), "{status}");
    Ok(())
}

#[test]
fn the_address_of_one_node_offered_to_anothers_machine_boots_neither() -> Result<()> {
    let mut site = Site::start(Datapath::Generic, files()?, &KNOWN)?;
    offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    // Its DHCP server has given it b's address.
    let mut request = RequestFrame::edk2(NODE_B, UEFI_X64);
    request.chaddr = discover(MAC_A, UEFI_X64).chaddr;
    site.stays_silent(&request.bytes())?;
    ensure!(site.counters()?["refused"] == json!({"identity": 1}));
    Ok(())
}
