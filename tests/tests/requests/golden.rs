//! The exchanges recorded from the daemon that this one replaces: clients are sent to the same
//! files, but where that one was at fault.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::{UEFI_ARM64, UEFI_BC, UEFI_X64};
use proxydhcp_lab::capture::{Golden, data_path, golden};
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{Expected, RequestFrame, SERVER_ADDRESS, check_reply};
use serde_json::json;

use crate::exchange::{Named, counts, left_to_daemon, on_every_datapath};
use crate::silence::Silence;

/// Nodes without peculiarities.
const CN000: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 0);
const CN001: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 1);
/// A node whose path lacks its closing slash.
const CN002: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 2);
/// A node whose path is too long.
const CN003: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 3);

fn site(datapath: Datapath, more: &[&str]) -> Result<Site> {
    let files = Files::new()?;
    fs::copy(data_path("golden.cfg"), files.path("proxydhcp.cfg"))?;
    fs::copy(data_path("golden.hosts"), files.path("hosts"))?;
    Site::start(datapath, files, more)
}

fn request(exchange: &Golden) -> RequestFrame {
    RequestFrame::carrying(
        exchange.client,
        exchange.source_port,
        exchange.request.clone(),
    )
}

fn name(exchange: &Golden) -> String {
    let Golden {
        client,
        kind,
        architecture,
        ..
    } = exchange;
    format!("{client}, {kind}, architecture {architecture}")
}

/// The nodes cn040 to cn047, which have an address and no record.
fn is_unknown(exchange: &Golden) -> bool {
    exchange.client.octets()[3] >= 40
}

/// The original's reply to the client, less its faults: it sent [`UEFI_BC`] and [`UEFI_ARM64`] to
/// the loader for a BIOS.
fn expected(exchange: &Golden) -> Result<Expected> {
    let file = exchange.reply.get(108..236).context("a short reply")?;
    let mut loader = text(file);
    let mut bcd = option(&exchange.reply, 252).context("a reply without option 252")?;
    if exchange.architecture == UEFI_BC {
        ensure!(loader.ends_with("pxeboot.0"), "{loader}");
        loader = loader.replace("pxeboot.0", "bootmgfw.efi");
    }
    if exchange.client == CN002 {
        for path in [&mut loader, &mut bcd] {
            ensure!(path.starts_with("winboot/newwinpeBoot/"), "{path}");
            *path = path.replace("newwinpe", "newwinpe/");
        }
    }
    Ok(Expected {
        loader,
        bcd,
        siaddr: SERVER_ADDRESS,
        class: "PXEClient",
    })
}

/// The text of an option, up to its NUL.
fn option(message: &[u8], wanted: u8) -> Option<String> {
    let mut rest = message.get(240..)?;
    while let [code, length, tail @ ..] = rest {
        let (value, tail) = tail.split_at_checked(usize::from(*length))?;
        if *code == wanted {
            return Some(text(value));
        }
        rest = tail;
    }
    None
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

fn ask(site: &mut Site, exchange: &Golden) -> Result<Named> {
    let request = request(exchange);
    let reply = site.tap.ask(&request).with_context(|| name(exchange))?;
    check_reply(&request.bytes(), &reply, &expected(exchange)?).with_context(|| name(exchange))?;
    let port = Datagram::parse(&reply)?.destination_port;
    ensure!(
        port == exchange.reply_port,
        "{}: to port {port}",
        name(exchange)
    );
    Ok((name(exchange), reply))
}

#[test]
fn nodes_are_sent_to_the_same_files() -> Result<()> {
    let exchanges = golden()?;
    let served: Vec<&Golden> = exchanges
        .iter()
        .filter(|exchange| !is_unknown(exchange) && exchange.architecture != UEFI_ARM64)
        .collect();
    assert_eq!(served.len(), 91);
    assert!(served.iter().any(|exchange| exchange.client == CN002));
    on_every_datapath(|datapath| {
        let mut site = site(datapath, &[])?;
        let replies: Result<Vec<Named>> = served
            .iter()
            .map(|exchange| ask(&mut site, exchange))
            .collect();
        let replies = replies?;
        counts(&site, "/answered", &served.len().into())?;
        let left = left_to_daemon(datapath, u64::try_from(served.len())?, 0);
        counts(&site, "/handed_up", &left.into())?;
        counts(&site, "/refused", &json!({}))?;
        Ok(replies)
    })
}

/// The original's reply to the client, byte for byte, or `None` where this project differs on
/// purpose, which other tests here are about.
fn same_bytes(exchange: &Golden) -> Option<&[u8]> {
    let differs = exchange.architecture == UEFI_ARM64
        || exchange.architecture == UEFI_BC
        || [CN002, CN003].contains(&exchange.client);
    (!differs).then_some(&exchange.reply)
}

#[test]
fn in_xcats_format_replies_are_the_originals_bytes() -> Result<()> {
    let exchanges = golden()?;
    let same: Vec<_> = exchanges
        .iter()
        .filter_map(|exchange| Some((exchange, same_bytes(exchange)?)))
        .collect();
    assert_eq!(same.len(), 88);
    on_every_datapath(|datapath| {
        let mut site = site(
            datapath,
            &["--unknown", "default", "--reply-format", "xcat"],
        )?;
        let ask = |(exchange, wanted): &(&Golden, &[u8])| {
            let reply = site
                .tap
                .ask(&request(exchange))
                .with_context(|| name(exchange))?;
            let datagram = Datagram::parse(&reply)?;
            ensure!(
                datagram.payload == *wanted,
                "{}:\n{:02x?}\nnot\n{wanted:02x?}",
                name(exchange),
                datagram.payload
            );
            ensure!(datagram.trailer.is_empty(), "{}: a trailer", name(exchange));
            datagram.verify_checksums()?;
            Ok((name(exchange), reply))
        };
        same.iter().map(ask).collect()
    })
}

/// Architecture 9, and a path without its closing slash: the original's bytes but for the paths.
#[test]
fn in_xcats_format_only_the_paths_differ_on_purpose() -> Result<()> {
    let exchanges = golden()?;
    let mended: Vec<&Golden> = exchanges
        .iter()
        .filter(|exchange| same_bytes(exchange).is_none())
        .filter(|exchange| exchange.architecture != UEFI_ARM64 && exchange.client != CN003)
        .collect();
    assert_eq!(mended.len(), 21);
    on_every_datapath(|datapath| {
        let mut site = site(
            datapath,
            &["--unknown", "default", "--reply-format", "xcat"],
        )?;
        let ask = |exchange: &&Golden| {
            let reply = site
                .tap
                .ask(&request(exchange))
                .with_context(|| name(exchange))?;
            let payload = Datagram::parse(&reply)?.payload.to_vec();
            let Expected { loader, bcd, .. } = expected(exchange)?;
            let mut wanted = exchange.reply.get(..108).context("a short reply")?.to_vec();
            wanted.extend(loader.as_bytes());
            wanted.resize(236, 0);
            wanted.extend(exchange.reply.get(236..249).context("a short reply")?);
            wanted.extend([252, u8::try_from(bcd.len() + 1)?]);
            wanted.extend(bcd.as_bytes());
            wanted.extend([0, 255]);
            ensure!(
                payload == wanted,
                "{}:\n{payload:02x?}\nnot\n{wanted:02x?}",
                name(exchange)
            );
            Ok((name(exchange), reply))
        };
        mended.iter().map(ask).collect()
    })
}

#[test]
fn loaders_are_those_of_the_settings() -> Result<()> {
    let settings = "[loaders]\n9 = \"\"\n7 = \"EFI/own.efi\"\n11 = \"Boot/bootaa64.efi\"\n";
    for datapath in Datapath::ALL {
        let files = Files::new()?;
        fs::copy(data_path("golden.cfg"), files.path("proxydhcp.cfg"))?;
        fs::copy(data_path("golden.hosts"), files.path("hosts"))?;
        files.write_settings(settings)?;
        let site = Site::start(datapath, files, &[])?;
        let mut silence = Silence::with(site, [CN000, CN001]);
        for exchange in golden()?.iter().filter(|exchange| exchange.client == CN000) {
            let Expected { bcd, siaddr, .. } = expected(exchange)?;
            let folder = bcd.strip_suffix("Boot/BCD").context("another BCD")?;
            for (architecture, loader) in
                [(UEFI_X64, "EFI/own.efi"), (UEFI_ARM64, "Boot/bootaa64.efi")]
            {
                let request = RequestFrame::edk2(CN000, architecture);
                let reply = silence.site.tap.ask(&request)?;
                let expected = Expected {
                    loader: format!("{folder}{loader}"),
                    bcd: bcd.clone(),
                    siaddr,
                    class: "PXEClient",
                };
                check_reply(&request.bytes(), &reply, &expected)?;
            }
        }
        silence.refuses(&RequestFrame::edk2(CN000, UEFI_BC).bytes(), "architecture")?;
    }
    Ok(())
}

#[test]
fn clients_without_a_record_are_sent_to_the_default_on_demand() -> Result<()> {
    let exchanges = golden()?;
    let unknown: Vec<&Golden> = exchanges
        .iter()
        .filter(|exchange| is_unknown(exchange))
        .collect();
    assert_eq!(unknown.len(), 18);
    on_every_datapath(|datapath| {
        let mut site = site(datapath, &["--unknown", "default"])?;
        unknown
            .iter()
            .map(|exchange| ask(&mut site, exchange))
            .collect()
    })
}

#[test]
fn what_the_original_should_not_have_answered_is_refused() -> Result<()> {
    let exchanges = golden()?;
    for datapath in Datapath::ALL {
        let mut silence = Silence::with(site(datapath, &[])?, [CN000, CN001]);
        for exchange in &exchanges {
            let reason = match exchange {
                unknown if is_unknown(unknown) => "unknown-client",
                Golden {
                    architecture: UEFI_ARM64,
                    ..
                } => "architecture",
                _ => continue,
            };
            silence
                .refuses(&request(exchange).bytes(), reason)
                .with_context(|| name(exchange))?;
        }
        let refused = &silence.site.status()?["refused"];
        assert_eq!(refused.as_array().map(Vec::len), Some(1), "{refused}");
        assert_eq!(refused[0]["number"], 4, "{refused}");
        assert_eq!(refused[0]["name"], "cn003", "{refused}");
        silence.refuses(
            &RequestFrame::edk2(CN003, UEFI_X64).bytes(),
            "unknown-client",
        )?;
    }
    Ok(())
}
