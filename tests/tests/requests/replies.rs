//! Plain requests of known nodes get the right reply, which is equal on every datapath.

use anyhow::Result;
use proxydhcp_lab::RequestFrame;
use proxydhcp_lab::architecture::{BIOS, UEFI_BC, UEFI_X64};
use proxydhcp_lab::site::{NODE_A, NODE_B, NODE_DEFAULT, Site};
use serde_json::json;

use crate::exchange::{Case, counts, left_to_daemon, on_every_datapath};

#[test]
fn every_firmware_gets_its_node_s_winpe() -> Result<()> {
    on_every_datapath(|datapath| {
        let mut site = Site::usual(datapath)?;
        let mut replies = Vec::new();
        for (node, winpe) in [
            (NODE_A, "winboot/a/"),
            (NODE_B, "winboot/b/"),
            (NODE_DEFAULT, ""),
        ] {
            for arch in [BIOS, UEFI_X64, UEFI_BC] {
                for (shape, request) in [
                    ("edk2", RequestFrame::edk2(node, arch)),
                    ("ipxe", RequestFrame::ipxe(node, arch)),
                    ("legacy", RequestFrame::legacy(node, arch)),
                    ("wdsmgfw", RequestFrame::wdsmgfw(node, arch)),
                ] {
                    let name = format!("{node}, {shape}, architecture {arch}");
                    replies.push(Case::new(name, request, winpe, arch).ask(&mut site)?);
                }
            }
        }
        counts(&site, "/answered", &replies.len().into())?;
        let left = left_to_daemon(datapath, u64::try_from(replies.len())?, 0);
        counts(&site, "/handed_up", &left.into())?;
        counts(&site, "/refused", &json!({}))?;
        Ok(replies)
    })
}
