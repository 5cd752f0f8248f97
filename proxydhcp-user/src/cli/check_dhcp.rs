//! `proxydhcp check-dhcp`: asks as a PXE client would, and shows which servers offer what.

use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::exit::Exit;
use crate::cli::output::print;
use crate::cli::probe::{ask_once, seconds};
use crate::cli::runtime::block_on;
use crate::nodes::hardware::{self, Mac};
use crate::sys::interface::{self, Interface, local_addresses};
use crate::winpe::architecture::Architecture;

mod ask;
mod finding;
mod offer;

use finding::{Finding, HandOff};
use offer::Offer;

/// Arguments of `check-dhcp`.
#[derive(Clone, Debug, Args)]
pub struct CheckDhcpArgs {
    /// The interface to ask on
    #[arg(short, long, value_name = "IF", add = complete::interfaces())]
    pub interface: String,
    /// The firmware to ask as: bios, uefi (on x64), arm64, ia32, or an architecture's number [default:
    /// bios and uefi]
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<Architecture>,
    /// The hardware address to ask for, such as a node's [default: one that no card has]
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub mac: Option<Mac>,
    /// How long to wait for offers; some servers first look whether an address is in use, for 3 s
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    pub timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn mac(text: &str) -> Result<Mac, String> {
    hardware::ethernet(text)
        .ok_or_else(|| "it is a card's hardware address, such as 52:54:00:12:34:56".to_owned())
}

/// What was offered, and what is wrong with it.
#[derive(Serialize)]
struct Checked {
    interface: String,
    mac: String,
    offers: Vec<Offer>,
    findings: Vec<Finding>,
}

/// Asks, and prints what is offered.
///
/// # Errors
///
/// If nothing can be sent on the interface.
pub(super) fn run(args: &CheckDhcpArgs) -> Result<ExitCode> {
    let interfaces = block_on(interface::list())??;
    let interface = interfaces
        .iter()
        .find(|interface| interface.is_named(&args.interface))
        .with_context(|| format!("there is no interface {}; see `ip link`", args.interface))?;
    interface.check()?;
    ensure!(
        interface.in_service,
        "{0} is down: `ip link set {0} up`",
        interface.name
    );
    let mac = args.mac.unwrap_or_else(|| own_mac(interface));
    let architectures = match args.arch {
        Some(arch) => vec![arch],
        None => vec![Architecture::BIOS, Architecture::UEFI],
    };
    let offers = ask::ask(interface.index, mac, &architectures, args.timeout)
        .with_context(|| format!("cannot ask on {}", interface.name))?;
    let hand_off = |offer: &Offer| hand_off(offer, args.mac, interface, &interfaces);
    let findings = architectures
        .iter()
        .flat_map(|arch| finding::judge(*arch, &offers, &hand_off))
        .collect();
    let checked = Checked {
        interface: interface.name.clone(),
        mac: mac.to_string(),
        offers,
        findings,
    };
    print(&if args.json {
        serde_json::to_string_pretty(&checked)?
    } else {
        describe(&checked)
    });
    let findings = &checked.findings;
    Ok(if findings.iter().any(|finding| finding.is_fatal) {
        Exit::Failed
    } else if findings.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    }
    .into())
}

/// An address for a client that does not exist: locally administered, and the same each time, so that
/// servers do not keep an address of their pools for each check.
fn own_mac(interface: &Interface) -> Mac {
    let [_, _, _, a, b, c] = interface.mac;
    Mac([0x02, b'P', b'X', a, b, c])
}

/// What becomes of a client that an offer sends to port 4011: that which was asked for, or else this host.
fn hand_off(offer: &Offer, mac: Option<Mac>, interface: &Interface, all: &[Interface]) -> HandOff {
    let Some(server) = offer.port_4011() else {
        return HandOff::Unknown;
    };
    let own = interface.addresses.first();
    let Some(&own) = own.filter(|_| !local_addresses(all).contains(&server)) else {
        return HandOff::Unknown;
    };
    let mac = mac.map_or(interface.mac, |mac| mac.0);
    match ask_once(server, own, mac, offer.arch) {
        Ok(answer) => HandOff::Answered {
            loader: answer.loader,
            bcd: answer.bcd,
        },
        Err(error) => {
            let error = error.downcast_ref::<io::Error>();
            if error.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
                HandOff::Nobody
            } else {
                HandOff::Unknown
            }
        }
    }
}

fn describe(checked: &Checked) -> String {
    const HEADS: [&str; 6] = [
        "FIRMWARE",
        "SERVER",
        "OFFERS",
        "VENDOR CLASS",
        "BOOT FILE",
        "TFTP SERVER",
    ];
    let rows: Vec<_> = checked.offers.iter().map(Offer::row).collect();
    let lines = || [HEADS.map(str::to_owned)].into_iter().chain(rows.clone());
    let widths: Vec<usize> = (0..HEADS.len())
        .map(|column| {
            let cells = lines().filter_map(|row| row.get(column).map(|cell| cell.chars().count()));
            cells.max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in lines().take(if rows.is_empty() { 0 } else { usize::MAX }) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if rows.is_empty() {
        let _ = writeln!(
            text,
            "no server has offered anything on {} to {}",
            checked.interface, checked.mac
        );
    }
    for finding in &checked.findings {
        let _ = writeln!(text, "{finding}");
    }
    if checked.findings.is_empty() {
        let _ = writeln!(text, "nothing here keeps clients from booting");
    }
    text
}
