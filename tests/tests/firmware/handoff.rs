//! The offers of each DHCP server with proxydhcp's configuration, which its checker accepts.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dhcproto::v4::{DhcpOption, Message, OptionCode};
use dhcproto::{Decodable, Decoder};
use proxydhcp_lab::architecture::{BIOS, HTTP_X64, UEFI_ARM64, UEFI_BC, UEFI_X64};
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::dhcp_server::DhcpServer;
use proxydhcp_lab::{Lab, RequestFrame, SERVER_ADDRESS, SERVER_INTERFACE, Tap};

use crate::dhcp_server::{OTHER_LOADER, PXE_LOADER, PxeClass, configure, mac_file};

const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);
const CLIENTS: [(&str, Ipv4Addr); 2] = [("a", NODE), ("other", OTHER)];

/// A server may look for other users of an address before it offers it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The fields of an offer that are about booting.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    vendor_class: Option<Vec<u8>>,
    file: String,
    siaddr: Ipv4Addr,
    /// Option 43.
    vendor_extensions: bool,
}

/// The options that a client requests: those that firmware does, none of those about booting, or none.
#[derive(Clone, Copy, Debug)]
enum Requested {
    Usual,
    Others,
    Nothing,
}

#[test]
fn firmware_is_handed_off_by_each_dhcp_server() -> Result<()> {
    for server in DhcpServer::ALL {
        hand_off(server, &[]).with_context(|| format!("{server:?}"))?;
    }
    Ok(())
}

#[test]
fn firmware_of_named_nodes_alone_is_handed_off() -> Result<()> {
    for server in DhcpServer::ALL {
        hand_off(server, &["a", "--server", "10.77.0.9"]).with_context(|| format!("{server:?}"))?;
    }
    Ok(())
}

/// Where other classes stand so that each server lets proxydhcp's win, as its configuration says.
#[test]
fn a_class_of_all_pxe_clients_does_not_win() -> Result<()> {
    for (server, place) in [
        (DhcpServer::Isc, PxeClass::Before),
        (DhcpServer::Isc, PxeClass::Behind),
        (DhcpServer::Kea, PxeClass::Behind),
        (DhcpServer::Dnsmasq, PxeClass::Before),
    ] {
        for arguments in [&[][..], &["a"]] {
            hand_off_before(server, place, arguments)
                .with_context(|| format!("{server:?}, class {place:?}, nodes {arguments:?}"))?;
        }
    }
    Ok(())
}

fn hand_off_before(server: DhcpServer, place: PxeClass, nodes: &[&str]) -> Result<()> {
    let lab = Lab::new()?;
    let folder = tempfile::tempdir()?;
    let macs = folder.path().join("macs");
    fs::write(&macs, mac_file(&CLIENTS))?;
    let macs = macs.display().to_string();
    let by_name = !nodes.is_empty();
    let mut arguments = nodes.to_vec();
    if by_name {
        arguments.extend(["--mac", &macs]);
    }
    configure(
        server,
        &lab.server,
        folder.path(),
        &CLIENTS,
        &arguments,
        place,
    )?;
    let running = server.start(&lab.server, SERVER_INTERFACE, folder.path())?;
    let mut tap = lab.tap()?;
    for architecture in [BIOS, UEFI_X64] {
        for requested in [Requested::Usual, Requested::Others, Requested::Nothing] {
            let offer = offer(&mut tap, NODE, architecture, b"PXEClient", requested)
                .with_context(|| running.log())?;
            ensure!(
                offer.vendor_class.as_deref() == Some(b"PXEClient")
                    && offer.file.is_empty()
                    && !offer.vendor_extensions
                    && [Ipv4Addr::UNSPECIFIED, SERVER_ADDRESS].contains(&offer.siaddr),
                "architecture {architecture}, {requested:?}: {offer:?}"
            );
        }
    }
    // All others are the class's.
    let mut others = vec![(NODE, UEFI_ARM64)];
    if by_name {
        others.push((OTHER, UEFI_X64));
    }
    for (client, architecture) in others {
        let offer = offer(
            &mut tap,
            client,
            architecture,
            b"PXEClient",
            Requested::Usual,
        )?;
        ensure!(
            offer.vendor_class.is_none() && offer.file == PXE_LOADER,
            "{client}, architecture {architecture}: {offer:?}"
        );
    }
    Ok(())
}

fn hand_off(server: DhcpServer, arguments: &[&str]) -> Result<()> {
    let lab = Lab::new()?;
    let folder = tempfile::tempdir()?;
    let macs = folder.path().join("macs");
    fs::write(&macs, mac_file(&CLIENTS))?;
    let macs = macs.display().to_string();
    let by_name = !arguments.is_empty();
    let mut arguments = arguments.to_vec();
    if by_name {
        arguments.extend(["--mac", &macs]);
    }
    configure(
        server,
        &lab.server,
        folder.path(),
        &CLIENTS,
        &arguments,
        PxeClass::None,
    )?;
    let running = server.start(&lab.server, SERVER_INTERFACE, folder.path())?;
    let mut tap = lab.tap()?;
    let mut offer = |client, architecture, class: &[u8], requested| {
        offer(&mut tap, client, architecture, class, requested)
            .with_context(|| format!("architecture {architecture}; {}", running.log()))
    };
    for architecture in [BIOS, UEFI_X64, UEFI_BC] {
        for requested in [Requested::Usual, Requested::Others, Requested::Nothing] {
            let handed_off = offer(NODE, architecture, b"PXEClient", requested)?;
            ensure!(
                handed_off.vendor_class.as_deref() == Some(b"PXEClient")
                    && handed_off.file.is_empty(),
                "architecture {architecture}, {requested:?}: {handed_off:?}"
            );
            if by_name {
                assert_eq!(handed_off.siaddr, Ipv4Addr::new(10, 77, 0, 9));
            }
        }
    }
    // UEFI on ARM, HTTP boot, and Windows once it runs.
    let mut others = vec![
        (NODE, UEFI_ARM64, b"PXEClient".as_slice()),
        (NODE, HTTP_X64, b"HTTPClient"),
        (NODE, UEFI_X64, b"MSFT 5.0"),
    ];
    if by_name {
        others.extend([
            (OTHER, BIOS, b"PXEClient".as_slice()),
            (OTHER, UEFI_X64, b"PXEClient"),
        ]);
    }
    for (client, architecture, class) in others {
        let left_alone = offer(client, architecture, class, Requested::Usual)?;
        ensure!(
            left_alone.vendor_class.is_none() && left_alone.file == OTHER_LOADER,
            "{client}, architecture {architecture}: {left_alone:?}"
        );
    }
    Ok(())
}

/// Discovers as firmware does, and takes the offer.
fn offer(
    tap: &mut Tap,
    client: Ipv4Addr,
    architecture: u16,
    class: &[u8],
    requested: Requested,
) -> Result<Offer> {
    let mut discover = RequestFrame::edk2(client, architecture);
    discover.destination_mac = [255; 6];
    discover.source = Ipv4Addr::UNSPECIFIED;
    discover.destination = Ipv4Addr::BROADCAST;
    discover.ciaddr = Ipv4Addr::UNSPECIFIED;
    discover.source_port = 68;
    discover.destination_port = 67;
    discover.flags = 0x8000;
    for (code, value) in &mut discover.options {
        match code {
            53 => *value = vec![1],
            60 => {
                let rest = value.get(9..).filter(|_| class.ends_with(b"Client"));
                *value = [class, rest.unwrap_or_default()].concat();
            }
            _ => {}
        }
    }
    match requested {
        Requested::Usual => {}
        Requested::Others => discover.set_option(55, [1, 3, 6, 51, 54]),
        Requested::Nothing => discover.remove_option(55),
    }
    tap.send(&discover.bytes())?;
    let sent = Instant::now();
    while let Some(frame) = tap.receive(PATIENCE.saturating_sub(sent.elapsed()))? {
        let Ok(datagram) = Datagram::parse(&frame) else {
            continue;
        };
        if datagram.destination_port != 68 {
            continue;
        }
        let message = Message::decode(&mut Decoder::new(datagram.payload))?;
        ensure!(
            message.yiaddr() == client,
            "an offer of {}",
            message.yiaddr()
        );
        let options = message.opts();
        let vendor_class = match options.get(OptionCode::ClassIdentifier) {
            Some(DhcpOption::ClassIdentifier(class)) => Some(class.clone()),
            _ => None,
        };
        // dnsmasq puts the file into an option where the client asks for that.
        let file = match options.get(OptionCode::BootfileName) {
            Some(DhcpOption::BootfileName(file)) => Some(file.as_slice()),
            _ => message.fname(),
        };
        let file = String::from_utf8_lossy(file.unwrap_or_default());
        return Ok(Offer {
            vendor_class,
            file: file.trim_end_matches('\0').to_owned(),
            siaddr: message.siaddr(),
            vendor_extensions: options.get(OptionCode::VendorExtensions).is_some(),
        });
    }
    bail!("no offer within {PATIENCE:?}")
}
