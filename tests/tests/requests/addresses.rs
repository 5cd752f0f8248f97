//! Replies come from the address that was asked and go to the one that asked, whatever the route.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::link::add_address;
use proxydhcp_lab::site::{Files, NODE_A, STRANGER, Site};
use proxydhcp_lab::{Expected, Lab, RequestFrame, SERVER_ADDRESS, SERVER_INTERFACE, check_reply};

use crate::exchange::{Named, on_every_datapath};
use crate::silence::Silence;

/// Asks, and checks the reply against the usual one but for the TFTP server.
fn ask(site: &mut Site, request: &RequestFrame, siaddr: Ipv4Addr) -> Result<Named> {
    let name = format!("{} to {}", request.source, request.destination);
    let reply = site.tap.ask(request).with_context(|| name.clone())?;
    let expected = Expected {
        siaddr,
        ..Expected::new("winboot/a/", UEFI_X64)
    };
    check_reply(&request.bytes(), &reply, &expected).with_context(|| name.clone())?;
    Ok((name, reply))
}

fn to(server: Ipv4Addr) -> RequestFrame {
    RequestFrame {
        destination: server,
        ..RequestFrame::edk2(NODE_A, UEFI_X64)
    }
}

#[test]
fn each_address_of_the_server_answers_for_itself() -> Result<()> {
    let servers = [
        SERVER_ADDRESS,
        Ipv4Addr::new(10, 77, 0, 2),
        Ipv4Addr::new(192, 168, 7, 1),
    ];
    on_every_datapath(|datapath| {
        let lab = Lab::new()?;
        for server in &servers[1..] {
            add_address(&lab.server, SERVER_INTERFACE, (*server, 24))?;
        }
        let mut site = Site::start_in(lab, datapath, Files::usual()?, &[])?;
        // iPXE drops a reply whose option 54 is not the address that it asked, and fetches its
        // files from siaddr.
        servers
            .iter()
            .map(|&server| ask(&mut site, &to(server), server))
            .collect()
    })
}

#[test]
fn clients_are_sent_to_the_tftp_server_that_is_set() -> Result<()> {
    on_every_datapath(|datapath| {
        let mut site = Site::with(datapath, &["--next-server", "10.77.0.5"])?;
        Ok(vec![ask(
            &mut site,
            &to(SERVER_ADDRESS),
            Ipv4Addr::new(10, 77, 0, 5),
        )?])
    })
}

#[test]
fn a_client_that_asks_for_a_broadcast_is_answered_alone() -> Result<()> {
    on_every_datapath(|datapath| {
        let mut site = Site::usual(datapath)?;
        let request = RequestFrame {
            flags: 0x8000,
            ..to(SERVER_ADDRESS)
        };
        let (name, reply) = ask(&mut site, &request, SERVER_ADDRESS)?;
        let datagram = Datagram::parse(&reply)?;
        assert_eq!(datagram.destination_mac, request.source_mac, "{datapath:?}");
        assert_eq!(datagram.destination, NODE_A, "{datapath:?}");
        Ok(vec![(name, reply)])
    })
}

/// A routed client's frames have the router's hardware address, and its own in chaddr. The server
/// here has no route to it, and asks for none.
#[test]
fn a_client_behind_a_router_is_answered_through_it() -> Result<()> {
    const ROUTED: Ipv4Addr = Ipv4Addr::new(172, 16, 5, 5);
    on_every_datapath(|datapath| {
        let files = Files::new()?;
        files.write_config(&[("routed", "winboot/a")])?;
        files.write_hosts(&[("172.16.5.5", "routed")])?;
        let mut site = Site::start(datapath, files, &[])?;
        let request = RequestFrame {
            source_mac: [0x02, 0, 0, 0, 0xff, 0xfe],
            ttl: 61,
            ..RequestFrame::edk2(ROUTED, UEFI_X64)
        };
        Ok(vec![ask(&mut site, &request, SERVER_ADDRESS)?])
    })
}

/// On demand, clients without a record get the default WinPE; but a responder that answers its own
/// address can be made to talk to itself for ever.
#[test]
fn the_server_never_answers_itself() -> Result<()> {
    on_every_datapath(|datapath| {
        let mut silence = Silence::new(Site::with(datapath, &["--unknown", "default"])?);
        let forged = RequestFrame::edk2(SERVER_ADDRESS, UEFI_X64);
        silence.refuses(&forged.bytes(), "unknown-client")?;
        let stranger = RequestFrame::edk2(STRANGER, UEFI_X64);
        let reply = silence.site.ask(&stranger, "", UEFI_X64)?;
        Ok(vec![("a stranger".to_owned(), reply)])
    })
}
