//! Requests and replies of every length: sums and copies in the kernel go by blocks, words and
//! what is left over.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use proxydhcp_lab::RequestFrame;
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::site::{Files, NODE_A, Site};

use crate::exchange::{Case, Named, handed_up, left_to_daemon, on_every_datapath};

/// The longest request that is answered without leaving the kernel.
const LONGEST_PLAIN: usize = 1024;

/// The longest path, without its slash: the UEFI loader's name is 127 characters then.
const LONGEST_PATH: u8 = 109;

#[test]
fn requests_of_every_length_are_answered_at_once() -> Result<()> {
    let shortest = RequestFrame::edk2(NODE_A, UEFI_X64).bootp().len();
    on_every_datapath(|datapath| {
        let mut site = Site::usual(datapath)?;
        let mut replies: Vec<Named> = Vec::new();
        for length in shortest..=LONGEST_PLAIN {
            let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
            // Not zeros, which a sum may leave out.
            request.tail.resize(1 + length - shortest, 0xa5);
            let case = Case::new(format!("{length} bytes"), request, "winboot/a/", UEFI_X64);
            replies.push(case.ask(&mut site)?);
        }
        let left = left_to_daemon(datapath, u64::try_from(replies.len())?, 0);
        ensure!(handed_up(&site)? == left, "some were not plain");
        Ok(replies)
    })
}

/// Each node has a path one longer than the one before it, and asks shortly and at length: its
/// reply grows out of the one request and is cut from the other. A driver may have no room for so
/// long a frame; the client must not notice.
#[test]
fn replies_of_every_length_are_right() -> Result<()> {
    let address = |length: u8| Ipv4Addr::new(10, 77, 2, length);
    let path = |length: u8| "x".repeat(length.into());
    let records: Vec<(String, String)> = (1..=LONGEST_PATH)
        .map(|length| (format!("node{length}"), path(length)))
        .collect();
    let hosts: Vec<(String, &str)> = (1..=LONGEST_PATH)
        .zip(&records)
        .map(|(length, (name, _))| (address(length).to_string(), name.as_str()))
        .collect();
    on_every_datapath(|datapath| {
        let files = Files::new()?;
        let borrowed: Vec<(&str, &str)> = records.iter().map(|(a, b)| (&**a, &**b)).collect();
        files.write_config(&borrowed)?;
        let borrowed: Vec<(&str, &str)> = hosts.iter().map(|(a, b)| (&**a, *b)).collect();
        files.write_hosts(&borrowed)?;
        let mut site = Site::start(datapath, files, &[])?;
        let mut replies: Vec<Named> = Vec::new();
        for length in 1..=LONGEST_PATH {
            let node = address(length);
            let winpe = format!("{}/", path(length));
            let mut nameless = RequestFrame::wdsmgfw(node, UEFI_X64);
            nameless.remove_option(97);
            for (name, request, arch) in [
                ("short", RequestFrame::wdsmgfw(node, UEFI_X64), UEFI_X64),
                ("without UUID", nameless, UEFI_X64),
                (
                    "with a boot item",
                    RequestFrame::edk2_discovery(node, BIOS, 1, 0),
                    BIOS,
                ),
                ("long", RequestFrame::legacy(node, BIOS), BIOS),
            ] {
                let reply = site.ask(&request, &winpe, arch)?;
                replies.push((format!("path of {length} bytes, {name}"), reply));
            }
        }
        Ok(replies)
    })
}
